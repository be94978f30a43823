"""Guards that a language model can smooth words, and never change a number or a citation.

The model is a stand-in: a server that answers what the test wants, since none can run here.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from assistant.dialogue import policies
from assistant.dialogue.dialogue import HangUp, Reply, Response, Said, Told
from assistant.dialogue.rewriting import RewritingDialogue, keeps_the_facts, with_language_model
from assistant.settings import LanguageModelServer
from assistant.speech.recognizer import Transcript

ANSWER = "最长领12个月。一般不看原来的工资。依据是社会保险法第46条。"


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ("最长可以领12个月。一般不看原来的工资。依据是社会保险法第46条。", True),
        ("最长领24个月。一般不看原来的工资。依据是社会保险法第46条。", False),
        ("最长领12个月。一般不看原来的工资。依据是社会保险法第47条。", False),
        ("最长领12个月。一般看原来的工资。依据是社会保险法第46条。", False),
        ("最长领12个月。一般不看原来的工资。", False),
        ("最长领12个月，也就是1年。一般不看原来的工资。依据是社会保险法第46条。", False),
        ("最长领十二个月。一般不看原来的工资。依据是社会保险法第46条。", False),
        ("", False),
        (ANSWER + "祝您早日找到满意的工作，生活越来越好，身体健康，万事如意。", False),
    ],
)
def test_what_may_change(after: str, kept: bool) -> None:
    assert keeps_the_facts(ANSWER, after) is kept


class _Adviser:
    """A dialogue that understands titles of cards only."""

    def __init__(self, protected: bool = False) -> None:
        self.heard: list[str] = []
        self.told: list[Told | None] = []
        self._protected = protected

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        assert isinstance(said, Transcript)
        self.heard.append(said.text)
        self.told.append(told)
        known = {card.title: card for card in policies.load()}
        if card := known.get(said.text):
            reply = Reply(ANSWER, HangUp(), self._protected)
            return Response([reply], intent=card.intent, cards=[card.id])
        return Response([Reply("没有听明白。")], intent="nlu_fallback")

    def anticipate(self, call_id: str, said: Transcript) -> None: ...

    async def forget(self, call_id: str) -> None: ...


@asynccontextmanager
async def _model(answer: Callable[[str], object]) -> AsyncIterator[str]:
    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        content = answer(body["messages"][1]["content"])
        return web.json_response({"choices": [{"message": {"content": content}}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield f"http://127.0.0.1:{port}/v1"
    await runner.cleanup()


async def _respond(answer: Callable[[str], object], text: str) -> tuple[Response, list[str]]:
    adviser = _Adviser()
    async with _model(answer) as url:
        dialogue = RewritingDialogue(adviser, LanguageModelServer(url=url))
        return await dialogue.respond("c1", Transcript(text, 1.0)), adviser.heard


async def test_smoother_words_are_spoken_and_the_control_stays() -> None:
    response, _ = await _respond(lambda text: text.replace("领", "可以领"), "失业金能领多久")
    assert response.replies == [Reply(ANSWER.replace("领", "可以领"), HangUp())]


async def test_what_is_protected_is_said_word_for_word() -> None:
    async with _model(lambda text: text.replace("领", "可以领")) as url:
        dialogue = RewritingDialogue(_Adviser(protected=True), LanguageModelServer(url=url))
        response = await dialogue.respond("c1", Transcript("失业金能领多久", 1.0))
    assert response.replies[0].text == ANSWER


async def test_what_was_answered_first_counts_as_never_heard() -> None:
    titles = [card.title for card in policies.load()]
    number = str(titles.index("失业金能领多久") + 1)
    adviser, told = _Adviser(), Told("您好。", 2)
    async with _model(lambda text: number if "来电人说" in text else text) as url:
        dialogue = RewritingDialogue(adviser, LanguageModelServer(url=url))
        await dialogue.respond("c1", Transcript("那个月月给的能给到啥时候", 1.0), told=told)
    assert adviser.told == [told, Told("", 0)]


async def test_a_changed_number_is_not_spoken() -> None:
    response, _ = await _respond(lambda text: text.replace("12", "24"), "失业金能领多久")
    assert response.replies[0].text == ANSWER


async def test_a_question_not_understood_is_asked_again_as_a_card() -> None:
    titles = [card.title for card in policies.load()]
    number = str(titles.index("失业金能领多久") + 1)
    response, heard = await _respond(
        lambda text: number if "来电人说" in text else text, "那个月月给的能给到啥时候"
    )
    assert heard == ["那个月月给的能给到啥时候", "失业金能领多久"]
    assert response.cards == ["unemployment_duration"]


@pytest.mark.parametrize("answer", ["0", "9999", "失业金", None, {"a": 1}])
async def test_an_answer_that_names_no_card_changes_nothing(answer: object) -> None:
    response, heard = await _respond(lambda text: answer, "嘟嘟嘟")
    assert heard == ["嘟嘟嘟"]
    assert response.replies[0].text == "没有听明白。"


async def test_without_a_server_that_answers_all_is_as_before() -> None:
    dead = LanguageModelServer(url="http://127.0.0.1:9/v1")
    response = await RewritingDialogue(_Adviser(), dead).respond("c1", Transcript("失业金能领多久"))
    assert response.replies[0].text == ANSWER


def test_off_by_default() -> None:
    adviser = _Adviser()
    assert with_language_model(adviser, LanguageModelServer()) is adviser
