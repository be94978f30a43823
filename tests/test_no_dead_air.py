"""Guards that no order of events leaves a caller in silence: random calls in virtual time.

Voice, noise, keys and hold come at random; recogniser, dialogue and synthesiser are slow, hang or
raise at random. Whatever happens, while nobody speaks the hotline does, every few seconds, until
the call is over. The voice activity detector is a mock here, by loudness, for the sake of speed.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from assistant import call as call_module
from assistant import hearing, line_trouble
from assistant.call import LOOK_S, STILL_THERE_AFTER_S, Call, Outcome
from assistant.channels.channel import Audio, Key, Pcm
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
    Told,
    Transfer,
)
from assistant.dialogue.resilient import ResilientDialogue
from assistant.hearing import Hearing
from assistant.journal import Event, Journal
from assistant.line_trouble import LineTrouble
from assistant.patience import AFTER_VOICE_S, Patience
from assistant.playback import NO_SOUND_S, Playback
from assistant.settings import CallLimits, Privacy, Settings
from assistant.speech.recognizer import Partial, Transcript
from assistant.speech.synthesizer import SynthesisError, Synthesizer
from assistant.speech.vad import Decision
from tests import virtual_time
from tests.test_call import FRAME, GOODBYE, RATE, Mouth, NoRecords, Wire, spoken

QUIET_S = 6.0 + LOOK_S + STILL_THERE_AFTER_S + 0.05
"""The longest that nobody may speak: until a silent caller is asked, and what that itself takes."""

LONGEST_S = 120.0

SLOWEST_CHUNK_S = 0.5


class LoudnessVad:
    """A mock of the detector: loud is voice."""

    def __init__(self, rate: int) -> None:
        self._rest = np.zeros(0, np.int16)

    def decide(self, pcm: Pcm) -> list[Decision]:
        heard = np.concatenate([self._rest, pcm])
        size = RATE * 32 // 1000
        whole = len(heard) // size
        self._rest = heard[whole * size :]
        return [
            Decision(float(np.abs(each).max() > 1000), 0.0)
            for each in heard[: whole * size].reshape(-1, size)
        ]


@pytest.fixture(autouse=True)
def loudness_vad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "Vad", LoudnessVad)


def voice(seconds: float) -> Pcm:
    """What LoudnessVad takes for speech."""
    return np.tile(np.array([3000, -3000], np.int16), round(seconds * RATE / 2))


@dataclass
class Watched(Wire):
    """A wire that knows when neither side was heard; `holds` are (from, to) in seconds."""

    holds: list[tuple[float, float]] = field(default_factory=list)
    silent: bool = False
    """The microphone is muted: exact silence where nobody speaks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.quiet_s = 0.0
        self.longest_quiet_s = 0.0
        self.keyed = 0

    @property
    def held(self) -> bool:  # type: ignore[override]
        now = asyncio.get_running_loop().time()
        return any(begin <= now < end for begin, end in self.holds)

    async def frames(self) -> AsyncIterator[Audio | Key]:
        async for item in super().frames():
            if isinstance(item, Key):
                self.quiet_s = 0.0
                yield item
                continue
            loud = bool(np.abs(item.pcm).max() > 1000)
            self.quiet_s = 0.0 if loud or self.queued or self.held else self.quiet_s + 0.02
            self.longest_quiet_s = max(self.longest_quiet_s, self.quiet_s)
            quiet = self.held or (self.silent and not loud)
            yield Audio(np.zeros(FRAME, np.int16)) if quiet else item

    async def play(self, pcm: Pcm) -> None:
        while self.held and not self.gone:
            await asyncio.sleep(0.02)
        await super().play(pcm)


class Workers(Executor):
    """Runs work at once, late, never, or to an error, as `chance` has it."""

    def __init__(self, chance: random.Random, kinds: str) -> None:
        self._chance, self._kinds = chance, kinds

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        kind = self._chance.choice(self._kinds)

        def finish() -> None:
            if not future.set_running_or_notify_cancel():
                return
            if kind == "!":
                future.set_exception(RuntimeError("the engine broke"))
            else:
                future.set_result(fn(*args, **kwargs))

        if kind == "~":
            asyncio.get_running_loop().call_later(self._chance.uniform(0.5, 9), finish)
        elif kind != "?":
            finish()
        return future


class Ears:
    """Hears one of `texts`, at random."""

    name = "random"
    streaming = False

    def __init__(self, chance: random.Random, texts: list[str]) -> None:
        self._chance, self._texts = chance, texts

    def open(self, rate: int, expecting: object = "free") -> "Ears":
        return self

    def accept(self, pcm: Pcm) -> Partial | None:
        return None

    def finish(self) -> Transcript:
        return Transcript(self._chance.choice(self._texts), 0.9)

    def abandon(self) -> None:
        pass


class Mind:
    """A dialogue that answers at once, late, never, with an error, or with nothing."""

    def __init__(self, chance: random.Random, kinds: str = ".") -> None:
        self._chance, self._kinds = chance, kinds
        self.said: list[Said] = []

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        self.said.append(said)
        kind = "." if isinstance(said, CallStarted) else self._chance.choice(self._kinds)
        if kind == "~":
            await asyncio.sleep(self._chance.uniform(0.5, 12))
        elif kind == "?":
            await asyncio.Event().wait()
        elif kind == "!":
            raise DialogueUnavailable("down")
        elif kind == "x":
            raise ValueError("a bug")
        if said == Silence(3):
            return Response(GOODBYE)
        length = self._chance.randint(3, 40)
        return Response([] if kind == "0" else [Reply("答" * length + "。", ListenFor())])

    def anticipate(self, call_id: str, said: Transcript) -> None: ...

    async def forget(self, call_id: str) -> None:
        """Nothing is kept."""


class Larynx(Mouth):
    """A voice that is slow, hangs or breaks at random."""

    def __init__(self, chance: random.Random, kinds: str) -> None:
        super().__init__()
        self._chance, self._kinds = chance, kinds

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        kind = self._chance.choice(self._kinds)
        async for pcm in super().speak(text, speed):
            if kind == "~":
                await asyncio.sleep(self._chance.uniform(0.05, SLOWEST_CHUNK_S))
            elif kind == "?":
                await asyncio.Event().wait()
            elif kind == "!" and self._chance.random() < 0.3:
                raise SynthesisError("broken")
            yield pcm


def hold(
    wire: Wire,
    dialogue: Mind,
    ears: Ears,
    workers: Executor | None = None,
    mouths: list[Synthesizer] | None = None,
    limits: CallLimits = CallLimits(longest_s=LONGEST_S),  # noqa: B008 - frozen
) -> tuple[Outcome, list[str], float]:
    """Hold the call; returns its outcome, what was spoken, and how long it took."""
    events: list[Event] = []
    settings = Settings(call=limits)

    async def main() -> tuple[Outcome, float]:
        records: Any = NoRecords()
        journal = Journal("c1", "sip", "", events.append, records, Privacy())
        workers_ = workers or virtual_time.InlineExecutor()
        call = Call(
            "c1",
            wire,
            Hearing(wire, ears, settings.turns, workers_),
            Playback(wire, mouths or [Mouth()]),
            ResilientDialogue(dialogue, settings),
            journal,
            settings,
        )
        outcome = await call.run()
        return outcome, asyncio.get_running_loop().time()

    outcome, seconds = virtual_time.run(main())
    return outcome, spoken(events), seconds


@pytest.mark.parametrize("seed", range(30))
def test_no_order_of_events_leaves_a_caller_in_silence(seed: int) -> None:
    chance = random.Random(seed)
    says: dict[float, Pcm | str] = {}
    at = 0.0
    while at < LONGEST_S:
        at += chance.choice([0.3, 1, 3, 8, 20]) * chance.uniform(0.5, 1.5)
        seconds = chance.choice([0.2, 0.5, 2, 6, 45])
        says[at] = voice(seconds) if chance.random() < 0.6 else chance.choice(["1", "44#", "1357"])
    hold_at = chance.uniform(5, 60)
    wire = Watched(says, holds=[(hold_at, hold_at + 15)] if seed % 3 == 0 else [])
    voices: list[Synthesizer] = [Mouth()]
    limit = QUIET_S
    if seed % 4 == 0:
        voices.insert(0, Larynx(chance, "..~~!?"))
        # The first voice is waited for, and for one more chunk of it; then the second speaks.
        limit += NO_SOUND_S + SLOWEST_CHUNK_S
    ears = Ears(chance, ["", "嗯", "查养老金", "请问一下那个"])
    ears.streaming = seed % 5 == 1  # then each frame is one more chance to hang
    outcome, _, seconds = hold(
        wire,
        Mind(chance, "......~~~!0" + "?x"[seed % 2]),
        ears,
        Workers(chance, "." * 200 + "~!?" if ears.streaming else "....~~~!?"),
        voices,
    )
    assert wire.longest_quiet_s <= limit
    assert seconds <= LONGEST_S + 30
    assert outcome in Outcome
    assert wire.gone, "the line is free again"


# -- a recogniser or a dialogue that does not answer -----------------------------------------------


def test_a_recogniser_that_hangs_is_announced_and_given_up() -> None:
    wire = Watched({2.0: voice(1.0)})
    mind = Mind(random.Random(1))
    _, said, _ = hold(wire, mind, Ears(random.Random(1), ["好"]), Workers(random.Random(1), "?"))
    assert said[1] == call_module.FILLER
    assert mind.said[1] == Transcript("")
    assert wire.longest_quiet_s <= QUIET_S


def test_a_silent_caller_is_asked_even_where_the_dialogue_is_slow() -> None:
    wire = Watched()
    _, said, _ = hold(wire, Mind(random.Random(1), "?"), Ears(random.Random(1), ["好"]))
    assert said[1] == call_module.STILL_THERE
    assert wire.longest_quiet_s <= QUIET_S


def test_a_dialogue_that_hangs_is_announced_again_and_again_and_given_up() -> None:
    wire = Watched({2.0: voice(1.0)})
    outcome, said, _ = hold(wire, Mind(random.Random(1), "?"), Ears(random.Random(1), ["好"]))
    assert said[1:4] == [call_module.FILLER, call_module.STILL, call_module.STILL]
    assert outcome is Outcome.FAILED
    assert wire.longest_quiet_s <= QUIET_S


# -- a room that is never quiet --------------------------------------------------------------------


def test_music_is_answered_over_and_ends_in_a_goodbye_with_a_number() -> None:
    wire = Watched({0.1: voice(500)})
    limits = CallLimits(longest_s=500, human_number="12345")
    mind = Mind(random.Random(1))
    outcome, said, seconds = hold(wire, mind, Ears(random.Random(1), [""]), limits=limits)
    assert said[-3:] == [
        line_trouble.NOISY,
        line_trouble.NOISY_NUMBER.format(number="12345"),
        line_trouble.NOISY_FAREWELL.format(number="12345"),
    ]
    assert [type(each) for each in mind.said] == [CallStarted, Transcript]
    assert outcome is Outcome.COMPLETED
    assert seconds < 90, "30 s for the first turn, then ten for each"


def test_music_in_which_words_are_heard_ends_as_well() -> None:
    wire = Watched({0.1: voice(500)})
    limits = CallLimits(longest_s=500)
    outcome, said, _ = hold(
        wire, Mind(random.Random(1)), Ears(random.Random(1), ["谢谢观看"]), limits=limits
    )
    assert line_trouble.NOISY in said
    assert outcome is Outcome.COMPLETED


def test_a_key_stops_what_is_said_over_the_noise() -> None:
    wire = Watched({0.1: voice(500), 31.5: "1#"})
    mind = Mind(random.Random(1))
    hold(wire, mind, Ears(random.Random(1), [""]), limits=CallLimits(longest_s=40))
    assert Keys("1") in mind.said


def test_a_caller_who_never_stops_talking_is_answered() -> None:
    wire = Watched({1.0: voice(70)})
    mind = Mind(random.Random(1))
    _, said, _ = hold(wire, mind, Ears(random.Random(1), ["我想问养老金"]))
    assert [type(each) for each in mind.said][:4] == [
        CallStarted,
        Transcript,
        Transcript,
        Transcript,
    ]
    assert len(said) >= 4, "each was spoken, over the caller's voice"


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ("w", [None]),
        ("--", [None, line_trouble.NOISY]),
        ("-w-", [None, None, None]),
        ("-k-", [None, None]),
        ("CC", [None, None]),
        ("CCC", [None, None, line_trouble.NOISY]),
        ("CCwC", [None, None, None, None]),
    ],
)
def test_when_the_line_is_named_as_the_trouble(turns: str, says: list[str | None]) -> None:
    """w: words; -: none; C: words, cut; k: keys."""
    trouble = LineTrouble(CallLimits())
    replies = []
    for turn in turns:
        if turn == "k":
            trouble.keyed()
        else:
            replies.append(trouble.turn(words=turn != "-", cut=turn == "C"))
    assert [reply.text if reply else None for reply in replies] == says


def test_a_loud_room_is_handed_to_the_desk_where_there_is_one() -> None:
    trouble = LineTrouble(CallLimits(human_target="sip:desk@pbx"))
    replies = [trouble.turn(words=False, cut=False) for _ in range(4)]
    controls = [reply.control for reply in replies if reply]
    assert controls == [None, Transfer("sip:desk@pbx"), HangUp()]


# -- a microphone that is muted --------------------------------------------------------------------


def test_a_muted_microphone_is_named() -> None:
    wire = Watched(silent=True)
    outcome, said, _ = hold(wire, Mind(random.Random(1)), Ears(random.Random(1), [""]))
    assert said[1:3] == [line_trouble.MUTED, line_trouble.MUTED_AGAIN]
    assert said[3] == GOODBYE[0].text
    assert outcome is Outcome.COMPLETED


def test_a_quiet_room_is_not_taken_for_a_muted_microphone() -> None:
    mind = Mind(random.Random(1))
    hold(Watched(), mind, Ears(random.Random(1), [""]))
    assert mind.said[1:] == [Silence(1), Silence(2), Silence(3)]


def test_a_microphone_muted_in_the_middle_of_a_call_is_named_the_second_time() -> None:
    wire = Watched({3.0: voice(1.0)}, silent=True)
    mind = Mind(random.Random(1))
    _, said, _ = hold(wire, mind, Ears(random.Random(1), ["好"]))
    assert mind.said[2:] == [Silence(1), Silence(3)]
    assert line_trouble.MUTED in said


# -- keys and voice at once ------------------------------------------------------------------------


@pytest.mark.parametrize("voice_at", [1.9, 2.05, 2.25])
def test_keys_win_over_what_is_muttered_meanwhile(voice_at: float) -> None:
    says: dict[float, Pcm | str] = {voice_at: voice(1.5), 2.2: "1", 2.4: "2", 3.0: "3#"}
    mind = Mind(random.Random(1))
    hold(Watched(says), mind, Ears(random.Random(1), ["一二三"]))
    assert mind.said[:2] == [CallStarted(), Keys("123")]
    assert not any(isinstance(each, Transcript) for each in mind.said)


def test_the_answer_to_a_key_is_heard_while_the_voice_goes_on() -> None:
    says: dict[float, Pcm | str] = {2.0: voice(5), 2.5: "1#"}
    _, said, _ = hold(Watched(says), Mind(random.Random(1)), Ears(random.Random(1), ["好"]))
    assert said[1].startswith("答")


def test_words_after_the_keys_are_a_turn() -> None:
    says: dict[float, Pcm | str] = {2.0: "1#", 8.0: voice(1)}
    mind = Mind(random.Random(1))
    hold(Watched(says), mind, Ears(random.Random(1), ["好"]))
    assert [type(each) for each in mind.said][:3] == [CallStarted, Keys, Transcript]


# -- hold ------------------------------------------------------------------------------------------


def test_on_hold_nobody_is_asked_for_an_answer() -> None:
    mind = Mind(random.Random(1))
    wire = Watched(holds=[(4.0, 34.0)])
    _, _, seconds = hold(wire, mind, Ears(random.Random(1), [""]))
    asked = [each for each in mind.said if isinstance(each, Silence)]
    assert asked == [Silence(1), Silence(2), Silence(3)]
    assert seconds > 34 + 12, "the clock stood for thirty seconds"


# -- decisions, without a call ---------------------------------------------------------------------


def due(patience: Patience, *spans: tuple[str, float]) -> list[tuple[float, str]]:
    """Look every 100 ms through spans of "busy", "working" or "quiet"; what was due, and when."""
    now = silence = 0.0
    found: list[tuple[float, str]] = []
    for state, seconds in spans:
        for _ in range(round(seconds * 10)):
            now += 0.1
            silence = 0.0 if state == "busy" else silence + 0.1
            if what := patience.tick(
                now, busy=state == "busy", working=state == "working", silence_s=silence
            ):
                silence = 0.0
                found.append((round(now, 1), what))
                if what == "no_input":
                    return found
    return found


def test_silence_adds_up_and_voice_does_not_start_it_anew() -> None:
    knocks = [("quiet", 3.0), ("busy", 0.3)] * 2 + [("quiet", 3.0)]
    (at, what), *_ = due(Patience(6.0, 0.0), *knocks)
    assert what == "no_input"
    assert at == pytest.approx(6.6 + AFTER_VOICE_S, abs=0.15), "but nobody is asked on a cough"


def test_silence_that_began_before_the_wait_counts() -> None:
    """Words that came to nothing do not buy another six seconds."""
    found = due(Patience(6.0, 0.0), ("quiet", 1.0), ("busy", 1.0), ("working", 2.0), ("quiet", 9.0))
    (at, what), *others = found
    assert (what, others) == ("no_input", [])
    assert at == pytest.approx(8.0, abs=0.15)


def test_while_a_caller_speaks_nothing_is_due() -> None:
    assert not due(Patience(6.0, 0.0), ("quiet", 5.5), ("busy", 60.0))


def test_recognition_is_announced_and_announced_again() -> None:
    found = due(Patience(6.0, 0.0), ("working", 9.0))
    assert [what for _, what in found] == ["filler", "filler"]
