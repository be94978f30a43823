"""Guards what the served dialogue does with what was heard surely, fairly, hardly and not at all.

How sure a turn is comes from the test in most of them; the ladder of misses is heard as a
recogniser would tell it.
"""

import re
import uuid
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from assistant import bench_surety
from assistant.asr_corpus import Utterance
from assistant.bench_asr import Condition, Heard
from assistant.bench_nlu import TUNING, read_cases
from assistant.dialogue import surety
from assistant.dialogue.dialogue import (
    CallStarted,
    HangUp,
    Keys,
    ListenFor,
    Response,
    Said,
    Transfer,
)
from assistant.dialogue.hypotheses import Hypothesis
from assistant.dialogue.rasa import RasaDialogue
from assistant.dialogue.surety import Surety
from assistant.speech.numerals import one_by_one
from assistant.speech.recognizer import Expecting, Transcript
from tests.conftest import Stack

PERSON = ("四四一三零二一九七二一二零一九九七幺", "七零七零七零")
"""Has a card that can be reported as lost."""
ANOTHER = ("四四一四零二一九六六一二一零九九八五", "一一二二三三")


class Ear:
    """A calibration that says what the test wants."""

    sure = 1.0

    def judge(self, chosen: Hypothesis, awaited: Expecting) -> Surety:
        return Surety(self.sure, awaited, surety.log_odds(self.sure), 0.0, 0.0)


class Caller:
    """One call."""

    def __init__(self, dialogue: RasaDialogue, ear: Ear) -> None:
        self._dialogue = dialogue
        self._ear = ear
        self._call_id = uuid.uuid4().hex

    async def __call__(self, said: str | Said, sure: float = 1.0) -> tuple[str, Response]:
        """What is answered to this, heard so surely."""
        self._ear.sure = sure
        turn = Transcript(said, 0.7) if isinstance(said, str) else said
        response = await self._dialogue.respond(self._call_id, turn)
        return "".join(reply.text for reply in response.replies), response

    async def identified(self, person: tuple[str, str], wish: str) -> tuple[str, Response]:
        """The answer once this person is known who wants that."""
        for said in (wish, person[0]):
            await self(said)
        return await self(person[1])


@pytest.fixture
async def caller(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Caller]:
    ear = Ear()
    monkeypatch.setattr(surety, "load", lambda engine: ear)
    async with RasaDialogue(stack.settings) as dialogue:
        yield Caller(dialogue, ear)


def listens(response: Response) -> str | None:
    control = response.replies[-1].control
    return control.expecting if isinstance(control, ListenFor) else None


# One turn


async def test_what_is_certain_is_answered_at_once(caller: Caller) -> None:
    text, response = await caller("失业金怎么领", 0.95)
    assert response.cards == ["unemployment_claim"]
    assert "您问的是" not in text
    assert (response.decision, response.sure) == ("accepted", 0.95)


async def test_what_is_fairly_sure_is_named_first_in_a_sentence_of_its_own(caller: Caller) -> None:
    text, response = await caller("失业金怎么领", 0.7)
    assert text.startswith("您问的是失业金怎么申领。")
    assert response.cards == ["unemployment_claim"]
    assert response.decision == "implied"


async def test_what_is_hardly_sure_is_asked_and_a_yes_goes_on(caller: Caller) -> None:
    text, response = await caller("失业金怎么领", 0.35)
    assert text == "您是想问失业金怎么申领，对吗？"
    assert (response.cards, response.decision, listens(response)) == ([], "confirmed", "yes_no")
    text, response = await caller("对", 0.9)
    assert response.cards == ["unemployment_claim"]
    assert "您问的是" not in text


async def test_what_was_denied_is_not_offered_again(caller: Caller) -> None:
    await caller("失业金怎么领", 0.35)
    text, response = await caller("不是", 0.9)
    assert "好的，不是这个" in text
    assert "失业金怎么申领" not in text
    assert "请按1" in text
    text, response = await caller("失业金怎么领", 0.35)
    assert "失业金怎么申领" not in text
    assert response.cards == []


async def test_what_was_not_understood_is_not_acted_on(caller: Caller) -> None:
    for said in ("失业金怎么领", "你真聪明", "今天天气怎么样", "查一下余额", "再见"):
        text, response = await caller(said, 0.1)
        assert response.decision in ("asked", "keypad", "person"), text
        assert response.cards == []
        if response.decision == "person":
            break


async def test_small_talk_and_a_yes_are_never_confirmed(caller: Caller) -> None:
    for said in ("谢谢", "慢一点", "你好"):
        text, response = await caller(said, 0.35)
        assert response.decision == "accepted", text
        assert "您问的是" not in text


async def test_the_business_is_named_before_the_identity(caller: Caller) -> None:
    text, response = await caller("查一下我的养老账户余额", 0.7)
    assert text.startswith("您要查养老账户的余额。先核对一下身份")
    assert (response.decision, listens(response)) == ("implied", "id_number")
    text, response = await caller("不对", 0.95)
    assert "您想问什么" in text, "the caller would be asked for a number in vain"
    assert listens(response) == "free"


async def test_business_hardly_understood_is_asked_first(caller: Caller) -> None:
    text, response = await caller("查一下我的养老账户余额", 0.35)
    assert text == "您是想查养老账户的余额，对吗？"
    text, response = await caller("是的", 0.9)
    assert listens(response) == "id_number"


async def test_a_correction_after_an_implicit_confirmation_is_taken(caller: Caller) -> None:
    await caller("社保卡怎么激活", 0.7)
    _, response = await caller("不是，我问的是社保卡密码忘了怎么办", 0.9)
    assert response.cards == ["card_password"]


async def test_a_bare_no_after_an_implicit_confirmation_is_no_goodbye(caller: Caller) -> None:
    await caller("社保卡怎么激活", 0.7)
    text, response = await caller("不对", 0.9)
    assert not any(isinstance(reply.control, HangUp) for reply in response.replies)
    text, response = await caller("社保卡怎么激活", 0.35)
    assert "激活" not in text


async def test_the_call_does_not_end_on_a_perhaps(caller: Caller) -> None:
    text, response = await caller("再见", 0.4)
    assert text == "您是要结束通话，对吗？"
    text, response = await caller("不是", 0.9)
    assert response.replies[-1].control == ListenFor("free")
    text, response = await caller("再见", 0.9)
    assert response.replies[-1].control == HangUp()


async def test_a_person_is_not_called_on_a_perhaps(caller: Caller) -> None:
    text, _ = await caller("转人工", 0.4)
    assert text == "您是想找人工，对吗？"
    text, _ = await caller(Keys("1"))
    assert "12333" in text


async def test_a_goodbye_hardly_heard_does_not_leave_a_form(caller: Caller) -> None:
    await caller("查余额")
    _, response = await caller("再见", 0.4)
    assert listens(response) == "id_number"


async def test_a_question_hardly_heard_inside_a_form_is_a_miss_of_the_form(caller: Caller) -> None:
    asked, _ = await caller("失业金能领几个月")
    text, response = await caller("社保卡怎么激活", 0.35)
    assert response.cards == []
    assert text != asked
    assert "按键" in text
    text, response = await caller("社保卡怎么激活", 0.9)
    assert response.cards == ["card_activate"]


async def test_a_yes_to_two_guesses_chooses_neither(caller: Caller) -> None:
    await caller("养老的事")
    text, response = await caller("好的")
    assert response.cards == []
    assert "请按1" in text


# Effects


async def test_a_yes_hardly_heard_changes_nothing(caller: Caller) -> None:
    text, _ = await caller.identified(PERSON, "我的社保卡丢了")
    assert "临时挂失" in text
    asked = [text]
    for _ in range(2):
        text, _ = await caller("对", 0.7)
        assert "办好了" not in text
        assert "按1" in text
        assert text not in asked
        asked.append(text)
    text, _ = await caller("对", 0.7)
    assert "没有办理" in text
    assert "12333" in text
    text, _ = await caller("我的社保卡丢了")
    assert "临时挂失" in text, "it would not be asked about had it been done"
    text, _ = await caller("不办")
    assert "没有办理" in text


async def test_a_key_is_a_yes_and_a_sure_yes_too(caller: Caller) -> None:
    await caller.identified(ANOTHER, "我的社保卡丢了")
    await caller("对", 0.7)
    text, _ = await caller(Keys("2"))
    assert "没有办理" in text
    await caller("我的社保卡丢了")
    await caller("对", 0.7)
    text, _ = await caller(Keys("1"))
    assert "办好了" in text


async def test_a_pin_hardly_heard_is_keyed_and_costs_no_attempt(caller: Caller) -> None:
    await caller("查余额")
    await caller("四四零幺零六一九七一零九一八九九八四")
    text, _ = await caller("八一八一八二", 0.3)
    assert "按键" in text
    assert "还可以再试" not in text, "the backend was asked, and counts"
    text, _ = await caller(Keys("818181"))
    assert "71455.3" in text


# The ladder of misses, as a recogniser would hear it

GIBBERISH = ("呜哩哇啦咕噜", "哒哒嘀嘟哩哩啦", "噗噜哗啦啦", "叽里咕噜哇", "嘎啦嘎啦嘟", "呼噜噜咻")

LOST = "我的社保卡丢了"
QUESTIONS: dict[str, list[str]] = {
    "what do you want": [],
    "an offer after an answer": ["失业金怎么领"],
    "which of two": ["养老的事"],
    "is there another question": ["谢谢"],
    "the ID number": ["查余额"],
    "the PIN": ["查余额", "四四零三零五一九八八零三一五九九七九"],
    "is this to be done": [LOST, *PERSON],
    "birth": ["我什么时候能退休"],
    "sex": ["我什么时候能退休", "七二年三月"],
    "post": ["我什么时候能退休", "七二年三月", "女的"],
    "year of retirement": ["二零三零年以后最低缴费年限怎么提高"],
    "years paid": ["养老金是怎么计算的"],
    "account": ["养老金是怎么计算的", "十五年"],
    "age": ["养老金是怎么计算的", "十五年", "六万"],
    "index": ["养老金是怎么计算的", "十五年", "六万", "六十岁"],
    "base": ["养老金是怎么计算的", "十五年", "六万", "六十岁", "十成"],
    "residents' account": ["居民养老每个月能领多少钱"],
    "residents' basic pension": ["居民养老每个月能领多少钱", "三万块"],
    "months of unemployment insurance": ["失业金能领几个月"],
    "grade": ["一次性伤残补助金有多少"],
    "wage": ["一次性伤残补助金有多少", "七级"],
    "contribution base": ["自己交养老保险一个月要多少钱"],
}


@pytest.mark.parametrize("lead", QUESTIONS.values(), ids=QUESTIONS)
async def test_no_question_is_asked_twice_and_misses_lead_to_keys_and_a_person(
    stack: Stack, lead: list[str]
) -> None:
    """Or to the end of the form, with what it asks for left open."""
    call_id = uuid.uuid4().hex
    async with RasaDialogue(stack.settings) as dialogue:

        async def turn(said: Said) -> tuple[str, list[object]]:
            response = await dialogue.respond(call_id, said)
            controls: list[object] = [reply.control for reply in response.replies]
            return "".join(reply.text for reply in response.replies), controls

        prompts = [(await turn(CallStarted()))[0]]
        for said in lead:
            prompts.append((await turn(Transcript(said, 0.9)))[0])
        misses = []
        for said in GIBBERISH[: stack.settings.dialogue.patience + 1]:
            text, controls = await turn(Transcript(said, 0.3))
            misses.append(text)
            over = any(isinstance(control, HangUp | Transfer) for control in controls)
            if over or "12333" in text or "先不算了" in text or "依据是" in text:
                break
        await dialogue.forget(call_id)
    asked = [prompts[-1], *misses]
    assert all(first != second for first, second in pairwise(asked)), asked
    assert over or re.search("12333|先不算了|依据是", misses[-1]), asked
    goes_on_without = "依据是" in misses[-1]  # a value that need not be known
    assert goes_on_without or any(re.search("按键|请按|或者按", text) for text in misses), asked
    assert goes_on_without or any("人工" in text for text in misses), asked


async def test_a_line_that_is_never_understood_is_let_go(stack: Stack) -> None:
    call_id = uuid.uuid4().hex
    async with RasaDialogue(stack.settings) as dialogue:
        for said in GIBBERISH[:4]:
            await dialogue.respond(call_id, Transcript(said, 0.3))
        response = await dialogue.respond(call_id, Transcript(GIBBERISH[4], 0.3))
    assert response.replies[-1].control == HangUp()
    assert "12333" in response.replies[-1].text
    assert response.decision == "person"


@pytest.mark.parametrize(
    ("lead", "keys", "has"),
    [
        (["我什么时候能退休"], ["197203", "2", "1"], "55岁7个月"),
        (["我什么时候能退休", "七八年六月", "女"], ["3"], "2030年3月"),
        (["失业金能领几个月"], ["8"], "18个月"),
        (["养老金是怎么计算的"], ["15", "60000", "60", "10"], "计发基数"),
        (["一次性伤残补助金有多少"], ["5", "3000", "8000"], "86400元"),
    ],
)
async def test_a_calculators_values_can_be_keyed(
    stack: Stack, lead: list[str], keys: list[str], has: str
) -> None:
    call_id = uuid.uuid4().hex
    said: list[Said] = [Transcript(text, 0.9) for text in lead]
    async with RasaDialogue(stack.settings) as dialogue:
        for turn in [*said, *map(Keys, keys)]:
            response = await dialogue.respond(call_id, turn)
    assert has in "".join(reply.text for reply in response.replies)


async def test_the_guesses_are_chosen_with_keys(stack: Stack) -> None:
    call_id = uuid.uuid4().hex
    async with RasaDialogue(stack.settings) as dialogue:
        await dialogue.respond(call_id, Transcript("养老的事", 0.9))
        offered = await dialogue.respond(call_id, Transcript(GIBBERISH[0], 0.3))
        text = offered.replies[-1].text
        named = re.search("。问?(.*?)请按1，", text)
        assert named, text
        assert offered.replies[-1].control == ListenFor("choice")
        chosen = await dialogue.respond(call_id, Keys("1"))
    assert chosen.cards or chosen.replies[-1].control == ListenFor("id_number")


# Calibrating


async def test_callers_are_judged_by_the_served_dialogue_and_the_fit_is_written(
    stack: Stack, tmp_path: Path
) -> None:
    clear, noisy = Condition("vosk", "alaw", "clean"), Condition("vosk", "alaw", "5dB")
    heard = []
    for case, other in pairwise(read_cases(TUNING)[::10]):
        said = Utterance(case.text, case.text, Path("x"), meaning=case.meaning)
        heard.append(Heard(clear, said, Transcript(case.text, 0.85), 2.0, 0.1))
        mistaken = Transcript(other.text, 0.35)  # it classifies well, and was never said
        heard.append(Heard(noisy, said, mistaken, 2.0, 0.1))
    for number in range(20):
        pin = one_by_one(f"{135790 + number}")
        said = Utterance(pin, pin, Path("x"), expecting="pin")
        heard.append(Heard(clear, said, Transcript(pin, 0.9), 2.0, 0.1))
        heard.append(Heard(noisy, said, Transcript(f"{pin[:-1]}九" + "九", 0.3), 2.0, 0.1))
    turns = await bench_surety.judge(stack.settings, heard)
    assert {turn.noise for turn in turns} == {"clean", "5dB", "typed"}
    found = bench_surety.calibrate("vosk", turns)
    bench_surety.write(found, tmp_path / "calibration.json")
    read = surety.load("vosk", tmp_path / "calibration.json")

    def sure(confidence: float, awaited: Expecting = "free", digits: str = "") -> float:
        text = "失业金怎么领，要去哪里办"
        said = Hypothesis(text, confidence, "policy/unemployment_claim", 0.98, digits, 0.01)
        return read.judge(said, awaited).sure

    assert sure(0.85) > 0.8 > 0.5 > sure(0.35)
    assert sure(0.9, "pin", "135790") > 0.7 > 0.5 > sure(0.3, "pin", "1357909")
