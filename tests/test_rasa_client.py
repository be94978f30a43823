"""Guards the client of the dialogue model: what it sends, what it makes of the answer, and that a
caller hears something whatever happens behind it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from assistant import settings as configuration
from assistant.dialogue import resilient, surety
from assistant.dialogue.dialogue import (
    CallStarted,
    DialogueUnavailable,
    HangUp,
    Keys,
    ListenFor,
    Reply,
    Response,
    Said,
    Silence,
    Speed,
    Told,
    Transfer,
    Volume,
)
from assistant.dialogue.hypotheses import LONGEST_TEXT, Hypothesis, candidates, choose, clean
from assistant.dialogue.rasa import RasaDialogue, to_control, to_replies
from assistant.dialogue.resilient import ResilientDialogue
from assistant.ports import free_ports
from assistant.settings import Settings
from assistant.speech.recognizer import Alternative, Expecting, Transcript

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


# What is sent


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("养老金怎么领", "养老金怎么领"),
        ("  养老金  怎么领\n", "养老金 怎么领"),
        ("/goodbye", "goodbye"),
        (" / /goodbye", "goodbye"),
        ("／goodbye", "goodbye"),
        ("\u200b/goodbye", "goodbye"),
        ("\x00\x07养老\x1b金\u202e", "养老金"),
        ("养老金👍🏽😀怎么领", "养老金怎么领"),
        ("\ud800养老金", "养老金"),
        ("１２３", "123"),
        ("👍", ""),
        ("///", ""),
        ("", ""),
    ],
)
def test_only_what_can_be_said_reaches_rasa(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_absurd_length_is_cut() -> None:
    assert clean("金" * 10_000) == "金" * LONGEST_TEXT


def test_candidates_are_the_best_distinct_alternatives() -> None:
    heard = tuple(Alternative(text, 0.5) for text in ("挂失", " 挂失", "挂式", "", "挂是", "瓜是"))
    assert [each.text for each in candidates(Transcript("挂失", 0.5, heard))] == [
        "挂失",
        "挂式",
        "挂是",
    ]


def test_a_transcript_without_alternatives_is_its_own_candidate() -> None:
    assert candidates(Transcript("挂失", 0.7)) == [Alternative("挂失", 0.7)]


def _hypothesis(heard: float, understood: float, digits: str = "", intent: str = "x") -> Hypothesis:
    return Hypothesis(f"{heard} {understood} {digits}", heard, intent, understood, digits)


@pytest.mark.parametrize(
    ("hypotheses", "expecting", "chosen"),
    [
        # both agree
        ([_hypothesis(0.9, 0.9), _hypothesis(0.5, 0.5)], "free", 0),
        # a little less loud, much better understood
        ([_hypothesis(0.9, 0.3), _hypothesis(0.8, 0.9)], "free", 1),
        # hardly heard, hardly better understood
        ([_hypothesis(0.9, 0.7), _hypothesis(0.1, 0.9)], "free", 0),
        # equals: the recogniser's order
        ([_hypothesis(0.0, 0.5), _hypothesis(0.0, 0.5)], "free", 0),
        # a fallback is no understanding, whatever its confidence says
        ([_hypothesis(0.9, 0.9, intent="nlu_fallback"), _hypothesis(0.3, 0.4)], "free", 1),
        # nothing that is ours, or ours and hardly worse understood
        ([_hypothesis(0.9, 0.97, intent="out_of_scope"), _hypothesis(0.85, 0.95)], "free", 1),
        ([_hypothesis(0.9, 0.97, intent="out_of_scope"), _hypothesis(0.85, 0.7)], "free", 0),
        # a number is awaited: its length decides first
        ([_hypothesis(0.9, 0.9, "1" * 17), _hypothesis(0.2, 0.3, "1" * 18)], "id_number", 1),
        ([_hypothesis(0.9, 0.9, "1" * 18), _hypothesis(0.2, 0.3, "1" * 6)], "pin", 1),
        # … and its check digit
        (
            [
                _hypothesis(0.9, 0.9, "440103196305129979"),
                _hypothesis(0.2, 0.3, "440103196305129977"),
            ],
            "id_number",
            1,
        ),
        # … unless none fits, or none is awaited
        ([_hypothesis(0.9, 0.9, "1" * 5), _hypothesis(0.2, 0.3, "1" * 4)], "pin", 0),
        ([_hypothesis(0.9, 0.9, "1" * 17), _hypothesis(0.2, 0.3, "1" * 18)], "free", 0),
    ],
)
def test_the_hypothesis_chosen(
    hypotheses: list[Hypothesis], expecting: Expecting, chosen: int
) -> None:
    assert choose(hypotheses, expecting) is hypotheses[chosen]


@pytest.mark.parametrize(
    ("understood", "asked"),
    [(0.95, ["失业金怎么灵"]), (0.6, ["失业金怎么灵", "失业金怎么领"])],
)
async def test_homophones_are_put_right_only_where_that_could_be_understood_better(
    understood: float, asked: list[str]
) -> None:
    parsed: list[str] = []

    async def parse(request: web.Request) -> web.Response:
        if not request.path.endswith("/model/parse"):
            return web.json_response([])
        parsed.append((await request.json())["text"])
        intent = {"name": "policy", "confidence": understood}
        return web.json_response({"intent": intent, "meaning": "policy/x", "digits": ""})

    def repair(text: str) -> str:
        return text.replace("灵", "领")

    async with _rasa_that(parse) as settings, RasaDialogue(settings, repair) as rasa:
        await rasa.respond("c1", Transcript("失业金怎么灵", 0.9))
    assert parsed == asked


@pytest.mark.parametrize(
    ("said", "parsed"),
    [("失业金怎么领", ["失业金怎么领"]), ("那工伤呢", ["失业金怎么领", "那工伤呢"])],
)
async def test_what_was_anticipated_is_not_parsed_again_and_changes_nothing(
    said: str, parsed: list[str]
) -> None:
    asked: list[str] = []
    taken: list[str] = []

    async def rasa_answers(request: web.Request) -> web.Response:
        body = await request.json()
        if request.path.endswith("/model/parse"):
            asked.append(body["text"])
            intent = {"name": "policy", "confidence": 0.95}
            return web.json_response({"intent": intent, "meaning": "policy/x", "digits": ""})
        if request.path.endswith("/webhook"):
            taken.append(body["message"])
        return web.json_response([])

    async with _rasa_that(rasa_answers) as settings, RasaDialogue(settings, str) as rasa:
        rasa.anticipate("c1", Transcript("失业金怎么领", 0.9))
        await asyncio.sleep(0.1)
        assert (asked, taken) == (["失业金怎么领"], [])
        await rasa.respond("c1", Transcript(said, 0.9))
    assert (asked, taken) == (parsed, [said])


async def test_what_was_heard_goes_with_the_turn_alone_and_only_where_it_is_known() -> None:
    bodies: list[dict[str, Any]] = []

    async def rasa_answers(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        if request.path.endswith("/model/parse"):
            intent = {"name": "refer_back", "confidence": 0.95}
            return web.json_response({"intent": intent, "meaning": "refer_back", "digits": ""})
        return web.json_response([])

    told = Told("要带身份证、户口本、照片。", 9)
    async with _rasa_that(rasa_answers) as settings, RasaDialogue(settings, str) as rasa:
        rasa.anticipate("c1", Transcript("第二个再说一遍", 0.9))
        await rasa.respond("c1", Transcript("第二个再说一遍", 0.9), told=told)
        await rasa.respond("c1", Keys("1"))
    assert bodies == [
        {"text": "第二个再说一遍"},
        {
            "sender": "c1",
            "message": "第二个再说一遍",
            "metadata": bodies[1]["metadata"] | {"told": {"text": told.text, "heard": 9}},
        },
        {"sender": "c1", "message": '/keyed{"digits": "1"}', "metadata": {}},
    ]


@pytest.mark.parametrize(
    ("said", "told", "decision"),
    [
        (Transcript("失业金怎么领", 0.8), [{"custom": {"decided": "implied"}}], "implied"),
        (Transcript("失业金怎么领", 0.8), [{"text": "好。"}], "accepted"),
        (Keys("1"), [{"custom": {"decided": "implied"}}], ""),
        (Silence(1), [{"text": "好。"}], ""),
    ],
)
async def test_what_was_heard_is_told_with_how_sure_it_is_and_the_answer_what_was_decided(
    said: Said, told: list[dict[str, Any]], decision: str
) -> None:
    sent: list[dict[str, Any]] = []

    async def rasa_answers(request: web.Request) -> web.Response:
        body = await request.json()
        if request.path.endswith("/model/parse"):
            ranking = [{"name": "policy/x", "confidence": 0.9}, {"name": "y", "confidence": 0.04}]
            answer = {"intent": {"name": "policy", "confidence": 0.9}, "intent_ranking": ranking}
            return web.json_response({**answer, "meaning": "policy/x", "digits": ""})
        if request.path.endswith("/webhook"):
            sent.append(body["metadata"])
        return web.json_response(told)

    async with _rasa_that(rasa_answers) as settings, RasaDialogue(settings, str) as rasa:
        response = await rasa.respond("c1", said)
    assert response.decision == decision
    if isinstance(said, Transcript):
        [metadata] = sent
        expected = surety.load("whisper").judge(
            Hypothesis(said.text, 0.8, "policy/x", 0.9, second=0.04), "free"
        )
        assert metadata == {"surety": expected.metadata()}
        assert response.sure == expected.sure
    else:
        assert sent == [{}]
        assert response.sure is None


async def test_a_fault_while_anticipating_is_told_by_the_turn(unreachable: Settings) -> None:
    async with RasaDialogue(unreachable) as rasa:
        rasa.anticipate("c1", Transcript("失业金怎么领", 0.9))
        await asyncio.sleep(0.1)
        with pytest.raises(DialogueUnavailable):
            await rasa.respond("c1", Transcript("失业金怎么领", 0.9))
        rasa.anticipate("c1", Transcript("那工伤呢", 0.9))
        await rasa.forget("c1")


# What is made of the answer


def test_a_control_belongs_to_the_text_before_it() -> None:
    messages: list[dict[str, Any]] = [
        {"recipient_id": "1", "text": "查到了。"},
        {"recipient_id": "1", "text": "请说密码。"},
        {"recipient_id": "1", "custom": {"expect": "pin"}},
    ]
    assert to_replies(messages) == [Reply("查到了。"), Reply("请说密码。", ListenFor("pin"))]


def test_what_is_protected_is_marked_beside_its_control() -> None:
    messages: list[dict[str, Any]] = [
        {"text": "查到了。"},
        {"text": "要挂失吗？"},
        {"custom": {"expect": "yes_no", "protected": True}},
        {"text": "再见。"},
        {"custom": {"protected": False}},
    ]
    assert to_replies(messages) == [
        Reply("查到了。"),
        Reply("要挂失吗？", ListenFor("yes_no"), protected=True),
        Reply("再见。"),
    ]


def test_a_control_without_text_and_a_second_control_stand_alone() -> None:
    messages: list[dict[str, Any]] = [
        {"custom": {"speed": 0.8}},
        {"text": "好。"},
        {"custom": {"hangup": True}},
    ]
    assert to_replies(messages) == [Reply("", Speed(0.8)), Reply("好。", HangUp())]
    assert to_replies([{"custom": {"speed": 0.8}}, {"custom": {"expect": "free"}}]) == [
        Reply("", Speed(0.8)),
        Reply("", ListenFor("free")),
    ]


@pytest.mark.parametrize(
    ("custom", "control"),
    [
        ({"expect": "yes_no", "suggest": ["human"]}, ListenFor("yes_no")),
        ({"transfer": "sip:desk@pbx"}, Transfer("sip:desk@pbx")),
        ({"hangup": True}, HangUp()),
        ({"hangup": False}, None),
        ({"speed": 1}, Speed(1)),
        ({"speed": "fast"}, None),
        ({"volume": 6}, Volume(6)),
        ({"volume": "loud"}, None),
        ({"expect": "poem"}, None),
        ({"suggest": ["human"]}, None),
        ({}, None),
    ],
)
def test_controls(custom: dict[str, object], control: object) -> None:
    assert to_control(custom) == control


# A Rasa that fails. The real one cannot be made to fail in each of these ways on demand.


@asynccontextmanager
async def _rasa_that(handler: Handler, timeout_s: float = 0.5) -> AsyncIterator[Settings]:
    """Settings of a server on which every request is handled by `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield configuration.load(
        overrides=[f"dialogue.rasa_port={port}", f"dialogue.timeout_s={timeout_s}"]
    )
    await runner.cleanup()


async def _hangs(request: web.Request) -> web.Response:
    await asyncio.sleep(1)  # longer than the client waits
    return web.Response()


async def _breaks(request: web.Request) -> web.Response:
    return web.Response(status=500)


async def _answers_html(request: web.Request) -> web.Response:
    return web.Response(text="<html>", content_type="text/html")


async def _says_nothing(request: web.Request) -> web.Response:
    return web.json_response([])


@pytest.mark.parametrize(
    ("handler", "told"),
    [(_hangs, "no answer in 0.5 s"), (_breaks, "HTTP 500"), (_answers_html, "text/html")],
)
async def test_a_failing_rasa_is_unavailable_and_the_error_says_why(
    handler: Handler, told: str
) -> None:
    async with _rasa_that(handler) as settings, RasaDialogue(settings) as rasa:
        with pytest.raises(DialogueUnavailable, match=told):
            await rasa.respond("c1", CallStarted())
        await rasa.forget("c1")


async def test_what_is_sent_for_keys_and_silence() -> None:
    sent: list[str] = []

    async def listen(request: web.Request) -> web.Response:
        sent.append((await request.json())["message"])
        return web.json_response([{"text": "好。"}])

    turns: list[Said] = [
        CallStarted(),
        Keys("12*"),
        Keys('1"}x' + "9" * 1000),
        Silence(1),
        Silence(2),
        Silence(9),
        Transcript(""),
        Transcript("👍"),
    ]
    async with _rasa_that(listen) as settings, RasaDialogue(settings) as rasa:
        for said in turns:
            await rasa.respond("c1", said)
    assert sent == [
        "/start",
        '/keyed{"digits": "12*"}',
        '/keyed{"digits": "1' + "9" * 31 + '"}',
        "/no_input",
        "/no_input_again",
        "/no_input_last",
        "/no_input",
        "/no_input",
    ]


# Never silence


@pytest.fixture
def unreachable() -> Settings:
    return configuration.load(overrides=free_ports())


async def _replies(settings: Settings, turns: int) -> list[Reply]:
    async with RasaDialogue(settings) as rasa:
        dialogue = ResilientDialogue(rasa, settings)
        return [(await dialogue.respond("c1", CallStarted())).replies[0] for _ in range(turns)]


async def test_a_dead_port_is_an_apology_then_another_then_goodbye(unreachable: Settings) -> None:
    first, second, third = await _replies(unreachable, 3)
    assert len({first.text, second.text, third.text}) == 3
    assert "对不起" in first.text
    assert first.control == second.control == ListenFor()
    assert unreachable.call.human_number in second.text
    assert unreachable.call.human_number in third.text
    assert third.control == HangUp()


async def test_with_a_human_desk_the_caller_is_handed_over() -> None:
    desk = [*free_ports(), 'call.human_target="sip:desk@pbx"', "dialogue.patience=2"]
    replies = await _replies(configuration.load(overrides=desk), 2)
    assert replies[1].control == Transfer("sip:desk@pbx")


async def test_an_empty_answer_is_an_apology_too() -> None:
    async with _rasa_that(_says_nothing) as settings:
        assert (await _replies(settings, 1))[0].text == resilient.FIRST


async def test_an_answer_ends_the_row_of_failures(unreachable: Settings) -> None:
    class Flaky:
        """Fails on every other turn."""

        def __init__(self) -> None:
            self.turns = 0

        async def respond(
            self, call_id: str, said: Said, caller: str = "", told: Told | None = None
        ) -> Response:
            self.turns += 1
            if self.turns % 2:
                raise DialogueUnavailable("down")
            return Response([Reply("好。")])

        def anticipate(self, call_id: str, said: Transcript) -> None: ...

        async def forget(self, call_id: str) -> None: ...

    dialogue = ResilientDialogue(Flaky(), unreachable)
    texts = [(await dialogue.respond("c1", CallStarted())).replies[0].text for _ in range(6)]
    assert texts == [resilient.FIRST, "好。"] * 3


async def test_calls_are_counted_apart(unreachable: Settings) -> None:
    async with RasaDialogue(unreachable) as rasa:
        dialogue = ResilientDialogue(rasa, unreachable)
        for call in ("c1", "c2"):
            response = await dialogue.respond(call, CallStarted())
            assert response.replies[0].text == resilient.FIRST
        await dialogue.forget("c1")
        assert (await dialogue.respond("c1", CallStarted())).replies[0].text == resilient.FIRST
