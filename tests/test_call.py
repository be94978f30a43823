"""Guards the course of a call: who speaks when, what interrupts, and that no call ends in silence.

The wire, the recogniser, the voice and the dialogue are scripted here, so that every order of
events can be played in virtual time; the real ones have their own tests, and test_demo_call.py
holds them all together.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import soundfile

from assistant import call as call_module
from assistant import line_trouble
from assistant.call import Call, Outcome
from assistant.channels.channel import Audio, ChannelClosed, ChannelError, Key, Pcm
from assistant.dialogue.dialogue import (
    CallStarted,
    HangUp,
    Keys,
    ListenFor,
    Reply,
    Response,
    Said,
    Silence,
    Told,
    Transfer,
    Volume,
)
from assistant.hearing import Hearing
from assistant.journal import Event, Journal
from assistant.observers import CallObserver
from assistant.playback import Playback
from assistant.records import CallRow, TurnRow
from assistant.settings import ROOT, CallLimits, Privacy, Settings
from assistant.speech.recognizer import Expecting, Partial, Transcript
from assistant.speech.synthesizer import SynthesisError, Synthesizer
from tests import virtual_time

RATE = 8000
FRAME = RATE // 50


HISS = np.random.default_rng(7).integers(-20, 21, FRAME).astype(np.int16)
"""What a line sounds like on which nobody speaks."""


def speech(seconds: float) -> Pcm:
    """Real speech, cut to length: the VAD is real."""
    pcm, rate = soundfile.read(ROOT / "audio/demo/1.wav", dtype="int16")
    assert rate == RATE
    voiced = np.flatnonzero(np.abs(pcm) > 500)
    return np.asarray(pcm[voiced[0] : voiced[0] + int(seconds * RATE)], np.int16)


@dataclass
class Wire:
    """A channel in virtual time. `says` maps the moment (s) to what the caller does then."""

    says: dict[float, Pcm | str] = field(default_factory=dict)
    hangs_up_at: float = 1e9
    transfer_error: Exception = field(default_factory=lambda: NotImplementedError("no desk here"))
    kind = "sip"
    caller = "13800001234"
    rate = RATE
    held = False
    tap: Callable[[Pcm, Pcm], None] | None = None

    def __post_init__(self) -> None:
        self.queued = 0
        self.played: list[tuple[float, Pcm]] = []
        self.gone = False
        self.targets: list[str] = []

    async def frames(self) -> AsyncIterator[Audio | Key]:
        loop = asyncio.get_running_loop()
        begun, tick, voice = loop.time(), 0, np.zeros(0, np.int16)
        script = sorted(self.says.items())
        while not self.gone and loop.time() - begun < self.hangs_up_at:
            while script and script[0][0] <= tick * 0.02:
                what = script.pop(0)[1]
                if isinstance(what, str):
                    for digit in what:
                        yield Key(digit)
                else:
                    voice = what
            frame, voice = voice[:FRAME], voice[FRAME:]
            self.queued = max(0, self.queued - 1)
            yield Audio(np.concatenate([frame, HISS[len(frame) :]]))
            tick += 1
            await asyncio.sleep(begun + tick * 0.02 - loop.time())
        self.gone = True

    async def play(self, pcm: Pcm) -> None:
        while self.queued >= 3 and not self.gone:
            await asyncio.sleep(0.01)
        if self.gone:
            raise ChannelClosed("the caller hung up")
        self.queued += 1
        self.played.append((asyncio.get_running_loop().time(), pcm))

    async def drain(self) -> None:
        while self.queued and not self.gone:
            await asyncio.sleep(0.01)

    def clear(self) -> int:
        dropped, self.queued = self.queued * FRAME, 0
        return dropped

    async def transfer(self, target: str) -> None:
        self.targets.append(target)
        raise self.transfer_error

    async def hangup(self) -> None:
        self.gone = True


@dataclass
class Ears:
    """A recogniser that hears what the test says, one utterance after another."""

    texts: list[str]
    name = "scripted"
    streaming = False

    def open(self, rate: int, expecting: Expecting = "free") -> "Ears":
        return self

    def accept(self, pcm: Pcm) -> Partial | None:
        return None

    def finish(self) -> Transcript:
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        if text == "broken":
            raise RuntimeError("the engine broke")
        return Transcript(text, 0.9)

    def abandon(self) -> None:
        pass


class Mouth:
    """A voice of 100 ms a character."""

    name = "tone"
    voice = "tone"
    rate = RATE

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.spoken: list[str] = []

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        if self.broken:
            raise SynthesisError("no voice today")
        self.spoken.append(text)
        for _ in text:
            yield np.full(RATE // 10, 1000, np.int16)


class Script:
    """A dialogue that answers by the kind or the words of what was said."""

    def __init__(self, answers: dict[object, list[Reply]], delay_s: float = 0.0) -> None:
        self.answers = answers
        self.delay_s = delay_s
        self.said: list[Said] = []
        self.told: list[Told | None] = []
        self.anticipated: list[str] = []

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        self.said.append(said)
        self.told.append(told)
        await asyncio.sleep(self.delay_s)
        key = said.text if isinstance(said, Transcript) else said
        if key == "crash":
            raise ValueError("a bug")
        return Response(self.answers.get(key, [Reply("请再说一遍。", ListenFor())]))

    def anticipate(self, call_id: str, said: Transcript) -> None:
        self.anticipated.append(said.text)

    async def forget(self, call_id: str) -> None:
        """Nothing is kept."""


class NoRecords:
    def started(self, call: CallRow) -> None: ...
    def turn(self, turn: TurnRow) -> None: ...
    def ended(self, call: CallRow) -> None: ...


GREETING = [Reply("您好。", ListenFor())]
GOODBYE = [Reply("再见。", HangUp())]
LONG = [Reply("这是一段很长很长的回答，要说好几秒钟，听的人可能等不及就会打断它。", ListenFor())]


def hold(
    wire: Wire,
    dialogue: Script,
    ears: list[str] | None = None,
    mouths: Sequence[Synthesizer] | None = None,
    closes_at: float | None = None,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    records: CallObserver = NoRecords(),  # noqa: B008 - keeps nothing
    notice: str = "",
) -> tuple[Outcome, list[Event]]:
    """Hold the call in virtual time; returns its outcome and the events."""
    events: list[Event] = []

    async def main() -> Outcome:
        journal = Journal(
            "c1",
            "sip",
            wire.caller,
            events.append,
            records,
            Privacy(),
        )
        workers = virtual_time.InlineExecutor()
        call = Call(
            "c1",
            wire,
            Hearing(wire, Ears(ears or ["好"]), settings.turns, workers),
            Playback(wire, mouths or [Mouth()]),
            dialogue,
            journal,
            settings,
            notice,
        )
        if closes_at is not None:
            asyncio.get_running_loop().call_later(closes_at, call.close)
        return await call.run()

    return virtual_time.run(main()), events


def spoken(events: list[Event]) -> list[str]:
    return [event["text"] for event in events if event["event"] == "hotline"]


def test_greet_listen_answer_goodbye() -> None:
    dialogue = Script({CallStarted(): GREETING, "再见": GOODBYE})
    outcome, events = hold(Wire({2.0: speech(1.0)}), dialogue, ["再见"])
    assert outcome is Outcome.COMPLETED
    assert spoken(events) == ["您好。", "再见。"]
    assert [type(said) for said in dialogue.said] == [CallStarted, Transcript]


def test_the_callers_voice_stops_the_playback_and_what_was_heard_is_known() -> None:
    dialogue = Script({CallStarted(): LONG, "再见": GOODBYE})
    wire = Wire({1.0: speech(1.0)})
    outcome, events = hold(wire, dialogue, ["再见"])
    assert outcome is Outcome.COMPLETED
    cut = next(event for event in events if event["event"] == "interrupted")
    assert LONG[0].text.startswith(cut["heard"])
    assert 3 <= len(cut["heard"]) <= 14, "0.2 s lead-in, 100 ms a character, stopped by 1.6 s"


def test_a_keyed_digit_interrupts_at_once() -> None:
    dialogue = Script({CallStarted(): LONG, Keys("1"): GOODBYE})
    outcome, events = hold(Wire({0.5: "1#"}), dialogue)
    assert outcome is Outcome.COMPLETED
    assert any(event["event"] == "interrupted" for event in events)


def test_a_cough_does_not_cost_the_answer() -> None:
    dialogue = Script({CallStarted(): LONG, Silence(1): GOODBYE})
    _, events = hold(Wire({1.0: speech(0.36)}), dialogue, [""])
    assert spoken(events).count(LONG[0].text) == 2, "interrupted, and said again"


TWO = [Reply("第一句话很短。第二句话长得多，要说上好几秒钟才说得完它。", ListenFor())]


def test_who_says_mhm_while_listening_hears_on_from_the_sentence() -> None:
    dialogue = Script({CallStarted(): TWO, Silence(1): GOODBYE})
    _, events = hold(Wire({1.6: speech(0.5)}), dialogue, ["嗯嗯"])
    first, *rest = spoken(events)
    assert first == TWO[0].text
    assert rest[0] == "第二句话长得多，要说上好几秒钟才说得完它。"
    assert dialogue.said == [CallStarted(), Silence(1)], "no turn was made of it"


def test_mhm_is_an_answer_where_yes_or_no_was_asked() -> None:
    asked = [Reply(TWO[0].text, ListenFor("yes_no"))]
    dialogue = Script({CallStarted(): asked, "嗯": GOODBYE})
    _, events = hold(Wire({1.6: speech(0.5)}), dialogue, ["嗯"])
    assert spoken(events) == [TWO[0].text, "再见。"]


def test_a_caller_who_asks_for_it_hears_a_louder_voice_from_that_reply_on() -> None:
    louder = [Reply("好的，我大声一点。", Volume(6)), Reply("请说。", ListenFor())]
    dialogue = Script({CallStarted(): GREETING, "大声一点": louder, Silence(1): GOODBYE})
    wire = Wire({2.0: speech(0.7)})
    hold(wire, dialogue, ["大声一点"])
    loudness = [int(np.abs(pcm).max()) for _, pcm in wire.played if pcm.any()]
    softly = len(GREETING[0].text) * 5
    assert set(loudness[:softly]) == {1000}
    assert set(loudness[softly:]) == {1995}


NOTICE = "为了保证服务质量，本次通话会录音。"
PROTECTED = [Reply(NOTICE, protected=True), Reply("您好，请问您要办什么？", ListenFor())]


def test_a_voice_does_not_stop_what_is_protected_and_its_words_are_the_next_turn() -> None:
    dialogue = Script({CallStarted(): PROTECTED[:1], "查余额": GOODBYE})
    _, events = hold(Wire({0.6: speech(0.7)}), dialogue, ["查余额"])
    assert [event["event"] for event in events if event["event"] == "interrupted"] == []
    assert spoken(events) == [NOTICE, "再见。"]
    assert dialogue.told == [None, Told(NOTICE, len(NOTICE))]


def test_who_speaks_over_what_is_protected_is_answered_at_its_end() -> None:
    dialogue = Script({CallStarted(): PROTECTED, "查余额": GOODBYE})
    _, events = hold(Wire({0.6: speech(0.7)}), dialogue, ["查余额"])
    assert spoken(events) == [NOTICE, "再见。"]


def test_a_cough_over_what_is_protected_does_not_cost_the_rest() -> None:
    dialogue = Script({CallStarted(): PROTECTED, Silence(1): GOODBYE})
    _, events = hold(Wire({0.6: speech(0.36)}), dialogue, [""])
    assert spoken(events) == [NOTICE, PROTECTED[1].text, "再见。"]


def test_a_key_stops_what_is_protected() -> None:
    dialogue = Script({CallStarted(): PROTECTED, Keys("1"): GOODBYE})
    _, events = hold(Wire({0.6: "1#"}), dialogue)
    assert spoken(events) == [NOTICE, "再见。"]
    cut = next(event for event in events if event["event"] == "interrupted")
    assert len(cut["heard"]) < 6


@pytest.mark.parametrize("says", [{}, {0.6: speech(0.7)}], ids=["silent", "speaks"])
def test_the_notice_of_the_recording_is_heard_before_anything_else(
    says: dict[float, Pcm | str],
) -> None:
    dialogue = Script({CallStarted(): GREETING, "好": GOODBYE, Silence(1): GOODBYE})
    _, events = hold(Wire(says), dialogue, notice=NOTICE)
    assert spoken(events)[0] == NOTICE
    assert not any(event["event"] == "interrupted" and event["heard"] for event in events)


LISTED = Reply("要带三样：身份证、户口本、照片。到窗口就能办。还有什么可以帮您？", ListenFor())


def test_what_was_heard_of_the_answer_goes_to_the_dialogue_with_the_next_words() -> None:
    asked = "第二个再说一遍"
    dialogue = Script({CallStarted(): GREETING, "好": [LISTED], asked: GOODBYE})
    wire = Wire({2.0: speech(1.0), 5.4: speech(1.0)})
    # The voice pauses once in the middle: each turn is decoded twice.
    _, events = hold(wire, dialogue, ["好", "好", asked])
    heard = next(event for event in events if event["event"] == "interrupted")["heard"]
    assert "身份证" in heard
    assert "窗口" not in heard
    assert dialogue.told == [None, Told("您好。", 3), Told(LISTED.text, len(heard))]


def test_an_answer_heard_to_its_end_is_told_as_heard() -> None:
    dialogue = Script({CallStarted(): [LISTED], Silence(1): GOODBYE})
    hold(Wire(), dialogue)
    assert dialogue.told == [None, Told(LISTED.text, len(LISTED.text))]


def test_an_answer_taken_up_again_after_mhm_counts_once() -> None:
    dialogue = Script({CallStarted(): TWO, Silence(1): GOODBYE})
    hold(Wire({1.6: speech(0.5)}), dialogue, ["嗯嗯"])
    assert dialogue.told == [None, Told(TWO[0].text, len(TWO[0].text))]


def test_what_is_said_of_the_line_does_not_hide_what_was_heard_of_the_answer() -> None:
    dialogue = Script({CallStarted(): GREETING, "": [LISTED], Keys("1"): GOODBYE})
    says: dict[float, Pcm | str] = {2.0: speech(1.0), 5.0: speech(1.0), 15.0: "1#"}
    _, events = hold(Wire(says), dialogue, [""])
    assert line_trouble.NOISY in spoken(events)
    told = dialogue.told[-1]
    assert told is not None
    assert told.text == LISTED.text
    assert 0 < told.heard < len(LISTED.text)


def test_a_question_in_the_middle_of_an_answer_is_a_turn() -> None:
    dialogue = Script({CallStarted(): TWO, "那女的呢": GOODBYE})
    _, events = hold(Wire({1.6: speech(0.5)}), dialogue, ["那女的呢"])
    assert spoken(events) == [TWO[0].text, "再见。"]


def test_the_last_words_are_not_interruptible() -> None:
    dialogue = Script({CallStarted(): [Reply("没有别的事，再见，祝您生活愉快。", HangUp())]})
    wire = Wire({0.5: speech(2.0)})
    outcome, events = hold(wire, dialogue)
    assert outcome is Outcome.COMPLETED
    assert not any(event["event"] == "interrupted" for event in events)


def test_silence_is_answered_each_time_with_its_count() -> None:
    answers: dict[object, list[Reply]] = {
        CallStarted(): GREETING,
        Silence(1): [Reply("您还在吗？", ListenFor())],
        Silence(2): [Reply("听得到吗？", ListenFor())],
        Silence(3): GOODBYE,
    }
    outcome, events = hold(Wire(), Script(answers))
    assert outcome is Outcome.COMPLETED
    assert spoken(events) == ["您好。", "您还在吗？", "听得到吗？", "再见。"]


@pytest.mark.parametrize("at", [0.1, 0.5, 1.0, 2.5])
def test_a_caller_may_hang_up_at_any_moment(at: float) -> None:
    outcome, events = hold(Wire(hangs_up_at=at), Script({CallStarted(): LONG}))
    assert outcome is Outcome.CALLER_HUNG_UP
    assert events[-1]["event"] == "ended"


def test_shutdown_says_goodbye_in_the_middle_of_an_answer() -> None:
    mouth = Mouth()
    outcome, _ = hold(Wire(), Script({CallStarted(): LONG}), mouths=[mouth], closes_at=1.0)
    assert outcome is Outcome.CLOSED
    assert "".join(mouth.spoken).endswith(call_module.FAREWELL)


def test_a_call_has_a_longest_time() -> None:
    mouth = Mouth()
    wire = Wire({float(at): speech(1.0) for at in range(3, 60, 3)})
    settings = Settings(call=CallLimits(longest_s=30))
    outcome, _ = hold(wire, Script({}), mouths=[mouth], settings=settings)
    assert outcome is Outcome.CLOSED
    assert "".join(mouth.spoken).endswith(call_module.TOO_LONG)


def test_a_bug_in_the_dialogue_is_an_apology_not_silence() -> None:
    mouth = Mouth()
    wire = Wire({2.0: speech(1.0)})
    outcome, _ = hold(wire, Script({CallStarted(): GREETING}), ["crash"], [mouth])
    assert outcome is Outcome.FAILED
    assert "".join(mouth.spoken).endswith(call_module.BROKEN)
    assert wire.gone, "the line is free again"


def test_a_broken_recogniser_is_a_turn_without_words() -> None:
    dialogue = Script(
        {CallStarted(): GREETING, "": [Reply("没听清。", ListenFor())], "好": GOODBYE}
    )
    wire = Wire({2.0: speech(1.0), 6.0: speech(1.0)})
    # The voice pauses once in the middle: each turn is decoded twice.
    outcome, events = hold(wire, dialogue, ["broken", "broken", "好"])
    assert outcome is Outcome.COMPLETED
    assert "没听清。" in spoken(events)


def test_the_second_voice_speaks_where_the_first_cannot() -> None:
    second = Mouth()
    outcome, _ = hold(Wire(), Script({CallStarted(): GOODBYE}), mouths=[Mouth(broken=True), second])
    assert outcome is Outcome.COMPLETED
    assert second.spoken == ["再见。"]


def test_a_slow_answer_is_announced() -> None:
    _, events = hold(Wire({9.0: speech(1.0)}), Script({CallStarted(): GOODBYE}, delay_s=3.0))
    assert spoken(events) == [call_module.FILLER, "再见。"]


@pytest.mark.parametrize(
    "error", [NotImplementedError("no desk here"), ChannelError("the desk did not answer")]
)
def test_a_failed_transfer_tells_the_number(error: Exception) -> None:
    dialogue = Script(
        {CallStarted(): [Reply("帮您转人工。", Transfer("sip:desk@pbx"))], "好": GOODBYE}
    )
    wire = Wire({9.0: speech(1.0)}, transfer_error=error)
    outcome, events = hold(wire, dialogue)
    assert wire.targets == ["sip:desk@pbx"]
    assert any("12333" in text for text in spoken(events))
    assert outcome is Outcome.COMPLETED


def test_a_pin_is_told_to_nobody() -> None:
    dialogue = Script(
        {CallStarted(): [Reply("请说密码。", ListenFor("pin"))], "一三五七九零": GOODBYE}
    )
    _, events = hold(Wire({3.0: speech(1.0)}), dialogue, ["一三五七九零"])
    told = next(event for event in events if event["event"] == "caller")
    assert told["text"] == "＊" * 6


def test_the_likely_turn_is_understood_ahead_and_taken_once() -> None:
    dialogue = Script({CallStarted(): GREETING, "再见": GOODBYE})
    hold(Wire({2.0: speech(1.0)}), dialogue, ["再见"])
    assert set(dialogue.anticipated) == {"再见"}, "at each pause in which it may be over"
    assert dialogue.said == [CallStarted(), Transcript("再见", 0.9)]


def test_half_a_sentence_is_not_understood_ahead() -> None:
    dialogue = Script({CallStarted(): GREETING, "我想问一下那个": GOODBYE})
    hold(Wire({2.0: speech(1.0)}), dialogue, ["我想问一下那个"])
    assert dialogue.anticipated == []
