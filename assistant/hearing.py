"""What the caller says and keys, turn by turn: frames in, finished turns out."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from assistant.barge_in import ECHO_MS, WINDOW_MS, BargeInGate, is_echo
from assistant.channels.channel import FRAME_MS, Audio, Channel, Key, Pcm
from assistant.completeness import Completeness, completeness
from assistant.dialogue.dialogue import Keys
from assistant.settings import Turns
from assistant.speech.recognizer import (
    LIMIT_S,
    Expecting,
    Recognizer,
    RecognizerStream,
    Transcript,
)
from assistant.speech.vad import CHUNK_MS, Vad
from assistant.timeline import Mark, MarkName
from assistant.turns import (
    START_PROBABILITY,
    STAY_PROBABILITY,
    KeyCollector,
    TurnDetector,
    TurnEnded,
    VoicePaused,
    VoiceResumed,
    VoiceStarted,
)

log = logging.getLogger(__name__)

LOOKBACK_MS = 500
"""Audio kept from before the voice was certain: without it the first syllable is clipped."""

DIGITAL_SILENCE = 8
"""No sample beyond it: one step of A-law, which has no zero. A microphone is never so quiet."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One finished turn of the caller. Times are seconds of the event loop's clock."""

    said: Transcript | Keys
    voice_ended: float
    endpoint: float
    recognised: float
    voice_ms: float = 0.0
    cut: bool = False
    """Whether the limit on the length of a turn ended it."""
    marks: tuple[Mark, ...] = ()
    """From speech_start to endpoint, and what befell the recogniser."""


class Utterance:
    """One turn's audio on its way through the recogniser, off the event loop."""

    def __init__(
        self, recognizer: Recognizer, rate: int, expecting: Expecting, workers: Executor
    ) -> None:
        self._recognizer, self._rate, self._expecting = recognizer, rate, expecting
        self._workers = workers
        self._frames: list[Pcm] = []
        self._ahead: asyncio.Task[Transcript] | None = None
        self._decoding: RecognizerStream | None = None
        self._feed: asyncio.Queue[Pcm | None] = asyncio.Queue()
        self._streaming: asyncio.Task[Transcript] | None = None
        self._partial = ""
        self._on_words: Callable[[Transcript], None] | None = None
        self.marks: list[Mark] = []
        if recognizer.streaming:
            self._streaming = asyncio.create_task(self._stream())
            self._streaming.add_done_callback(_retrieved)

    def mark(self, name: MarkName, ago_ms: float = 0.0, text: str = "") -> None:
        """Note for the timeline what happened, `ago_ms` before now."""
        self.marks.append(Mark(name, asyncio.get_running_loop().time() - ago_ms / 1000, text))

    def add(self, pcm: Pcm) -> None:
        """Take the next frame; never waits."""
        if self._streaming:
            self._feed.put_nowait(pcm)
        else:
            self._frames.append(pcm)

    def pause(self, on_words: Callable[[Transcript], None]) -> bool:
        """The caller may have finished: decode ahead, so that the endpoint finds it done.

        `on_words` gets the words so far, unless the caller has gone on by then. Returns whether
        they are still to come.
        """
        if self._streaming:
            self._on_words = on_words
            if self._partial:
                on_words(Transcript(self._partial))
            return False
        ahead = self._ahead = asyncio.create_task(self._decode())

        def decoded(task: asyncio.Task[Transcript]) -> None:
            if self._ahead is ahead and not task.cancelled() and not task.exception():
                on_words(task.result())

        ahead.add_done_callback(decoded)
        return True

    def resume(self) -> None:
        """The caller goes on: what was decoded ahead is not the whole turn."""
        if self._ahead:
            self._ahead.cancel()
            # Whether it waits for its turn or has begun: another caller needs the core.
            if self._decoding:
                self._decoding.abandon()
        self._ahead = None
        self._on_words = None

    def discard(self) -> None:
        """Nobody wants the words any more."""
        self.resume()
        if self._streaming:
            self._feed.put_nowait(None)

    async def finish(self) -> Transcript:
        """The transcript; empty when the recogniser fails or hangs, which is logged."""
        if self._streaming:
            self._feed.put_nowait(None)
        task = self._streaming or self._ahead or asyncio.create_task(self._decode())
        try:
            return await asyncio.wait_for(task, LIMIT_S)
        except TimeoutError:
            self.mark("recognizer_timeout")
            log.error("the recogniser hangs; the caller is asked to say it again")
        except Exception:
            self.mark("recognizer_failed")
            log.exception("the recogniser failed; the caller is asked to say it again")
        return Transcript("")

    async def _decode(self) -> Transcript:
        audio = np.concatenate(self._frames) if self._frames else np.zeros(0, np.int16)
        stream = self._decoding = self._recognizer.open(self._rate, self._expecting)

        def decode() -> Transcript:
            stream.accept(audio)
            return stream.finish()

        return await asyncio.get_running_loop().run_in_executor(self._workers, decode)

    async def _stream(self) -> Transcript:
        loop = asyncio.get_running_loop()
        stream: RecognizerStream = self._recognizer.open(self._rate, self._expecting)
        while (pcm := await self._feed.get()) is not None:
            words = await loop.run_in_executor(self._workers, stream.accept, pcm)
            self._partial = words.text if words else self._partial
            if self._on_words and self._partial:
                self._on_words(Transcript(self._partial))
        return await loop.run_in_executor(self._workers, stream.finish)


def _retrieved(streaming: asyncio.Task[Transcript]) -> None:
    """A fault is finish()'s to tell; where nobody wants the words any more, nobody asks."""
    if not streaming.cancelled():
        streaming.exception()


class Hearing:
    """Listens from answer to hang-up, also while the hotline speaks."""

    def __init__(
        self, channel: Channel, recognizer: Recognizer, rules: Turns, workers: Executor
    ) -> None:
        self._channel = channel
        self._recognizer = recognizer
        self._workers = workers
        self._vad = Vad(channel.rate)
        self._turns = TurnDetector(rules)
        self._keys = KeyCollector(rules.key_timeout_s)
        self._lookback: deque[Pcm] = deque(maxlen=LOOKBACK_MS // FRAME_MS)
        self._heard: deque[Pcm] = deque(maxlen=-(-WINDOW_MS // FRAME_MS))
        self._sent: deque[Pcm] = deque(maxlen=-(-(WINDOW_MS + ECHO_MS) // FRAME_MS))
        self._gate = BargeInGate(channel.rate, rules.barge_in_threshold)
        self._utterance: Utterance | None = None
        self._keyed_over = False
        self._recognising: set[asyncio.Task[None]] = set()
        self._now_ms = 0.0
        self._vad_ms = 0.0
        self._sound_ms: float | None = None
        self._voice_ms = 0.0
        self.turns: asyncio.Queue[Heard] = asyncio.Queue()
        self.interrupted = asyncio.Event()
        """Set when the caller starts to speak or keys a digit; the listener clears it."""
        self.on_likely: Callable[[Transcript], None] = lambda said: None
        """Told of the words at a pause, which are the whole turn unless the caller goes on."""
        self.keyed = asyncio.Event()
        """Set when the caller keys a digit; the listener clears it."""

    @property
    def speaking(self) -> bool:
        """Whether the caller is speaking just now, and is not keying instead."""
        return self._turns.speaking and not self._keyed_over

    @property
    def on_hold_or_active(self) -> bool:
        """Whether the caller speaks, keys, or has us on hold: their silence does not count."""
        awaits_nothing = self._keyed_over and self._turns.paused
        speaking = self._turns.speaking and not awaits_nothing
        return speaking or self._keys.pending or self._channel.held

    @property
    def recognising(self) -> bool:
        """Whether a turn is over whose words are still to come."""
        return bool(self._recognising)

    @property
    def ever_heard(self) -> bool:
        """Whether any sound, noise included, has come since the call was answered."""
        return self._sound_ms is not None

    @property
    def silence_s(self) -> float:
        """For how many seconds the caller has neither spoken nor keyed; hold does not count."""
        return (self._now_ms - self._voice_ms) / 1000

    @property
    def soundless_s(self) -> float:
        """For how many seconds the line has been digitally silent."""
        return (self._now_ms - (self._sound_ms or 0.0)) / 1000

    def suspect_noise(self, noisy: bool) -> None:
        """Whether what sounds like a voice may be noise: its turns are then cut sooner."""
        self._turns.noisy = noisy

    def expect(self, expecting: Expecting) -> None:
        """The kind of answer awaited from here on."""
        self._turns.expecting = self._keys.expecting = expecting

    def playing(self, playing: bool) -> None:
        """Whether the hotline is speaking just now."""
        if playing and not self._turns.playing:
            self._gate.restart()
        self._turns.playing = playing

    async def run(self) -> None:
        """Listen until the line drops."""
        async for item in self._channel.frames():
            if isinstance(item, Key):
                self._key(item.digit)
            else:
                self._frame(item)

    def _key(self, digit: str) -> None:
        self._voice_ms = self._now_ms
        self.interrupted.set()
        self.keyed.set()
        # Who keys and mutters the digits, or keys with a television on, has answered once.
        self._keyed_over = True
        self._keyed(self._keys.key(digit, self._now_ms))

    def _keyed(self, digits: str | None) -> None:
        if digits is not None:
            now = asyncio.get_running_loop().time()
            self.turns.put_nowait(Heard(Keys(digits), now, now, now))

    def _frame(self, audio: Audio) -> None:
        pcm = audio.pcm
        self._heard.append(pcm)
        self._sent.append(audio.sent)
        self._now_ms += len(pcm) * 1000 / self._channel.rate
        if np.abs(pcm.astype(np.int32)).max(initial=0) > DIGITAL_SILENCE:
            self._sound_ms = self._now_ms
        if self._channel.held:
            self._voice_ms = self._now_ms
        self._keyed(self._keys.tick(self._now_ms))
        if self._utterance:
            self._utterance.add(pcm)
        else:
            self._lookback.append(pcm)
        for probability, level_db in self._vad.decide(pcm):
            self._vad_ms += CHUNK_MS
            self._follow(self._of_caller(probability), level_db)
            if self._turns.speaking and probability >= STAY_PROBABILITY:
                self._voice_ms = self._now_ms

    def _of_caller(self, probability: float) -> float:
        """How probably the caller speaks: what may begin a turn may be our own voice come back."""
        if self._turns.speaking:
            return probability
        heard, sent = np.concatenate(self._heard), np.concatenate(self._sent)
        if self._turns.playing:
            return float(self._gate.accept(heard, sent, probability))
        if probability < START_PROBABILITY or is_echo(heard, sent):
            return 0.0
        return probability

    def _follow(self, probability: float, level_db: float) -> None:
        match self._turns.accept(probability, self._vad_ms, level_db):
            case VoiceStarted(at_ms):
                self._keyed_over = self._keys.pending
                self._utterance = Utterance(
                    self._recognizer, self._channel.rate, self._turns.expecting, self._workers
                )
                for pcm in self._lookback:
                    self._utterance.add(pcm)
                self._lookback.clear()
                self._utterance.mark("speech_start", self._vad_ms - at_ms)
                self.interrupted.set()
            case VoicePaused() if self._utterance:
                self._utterance.mark("pause")
                heard = partial(self._heard_so_far, self._utterance)
                self._turns.awaits_words = self._utterance.pause(heard)
            case VoiceResumed() if self._utterance:
                self._utterance.mark("resumed")
                self._utterance.resume()
            case TurnEnded() if self._utterance and self._keyed_over:
                self._utterance.discard()
                self._utterance = None
            case TurnEnded() as turn if self._utterance:
                task = asyncio.create_task(self._recognise(self._utterance, turn))
                self._recognising.add(task)
                task.add_done_callback(self._recognising.discard)
                self._utterance = None

    def _heard_so_far(self, utterance: Utterance, said: Transcript) -> None:
        if utterance is not self._utterance or not self._turns.paused:
            return
        if utterance.marks[-1].text != said.text:  # a streaming recogniser repeats itself
            utterance.mark("partial", text=said.text)
        self._turns.words = completeness(said.text, self._turns.expecting, said.confidence)
        # A turn that the words leave open is seldom over.
        if said.text and self._turns.words is not Completeness.OPEN:
            self.on_likely(said)

    async def _recognise(self, utterance: Utterance, turn: TurnEnded) -> None:
        loop = asyncio.get_running_loop()
        endpoint = loop.time()
        voice_ended = endpoint - (self._vad_ms - turn.voice_ended_ms) / 1000
        utterance.mark("endpoint")
        transcript = await utterance.finish()
        self.turns.put_nowait(
            Heard(
                transcript,
                voice_ended,
                endpoint,
                loop.time(),
                turn.voice_ended_ms - turn.started_ms,
                cut=turn.cut,
                marks=tuple(utterance.marks),
            )
        )
