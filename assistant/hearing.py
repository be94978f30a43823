"""What the caller says and keys, turn by turn: frames in, finished turns out."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from assistant.channels.channel import FRAME_MS, Channel, Key, Pcm
from assistant.completeness import completeness
from assistant.dialogue.dialogue import Keys
from assistant.settings import Turns
from assistant.speech.recognizer import Expecting, Recognizer, RecognizerStream, Transcript
from assistant.speech.vad import CHUNK_MS, Vad
from assistant.turns import (
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

RECOGNITION_LIMIT_S = 10.0
"""A recogniser that has not answered by then hangs; the caller is asked again instead."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One finished turn of the caller. Times are seconds of the event loop's clock."""

    said: Transcript | Keys
    voice_ended: float
    endpoint: float
    recognised: float
    voice_ms: float = 0.0


class Utterance:
    """One turn's audio on its way through the recogniser, off the event loop."""

    def __init__(
        self, recognizer: Recognizer, rate: int, expecting: Expecting, workers: Executor
    ) -> None:
        self._recognizer, self._rate, self._expecting = recognizer, rate, expecting
        self._workers = workers
        self._frames: list[Pcm] = []
        self._ahead: asyncio.Task[Transcript] | None = None
        self._feed: asyncio.Queue[Pcm | None] = asyncio.Queue()
        self._streaming: asyncio.Task[Transcript] | None = None
        self._partial = ""
        self._on_words: Callable[[str], None] | None = None
        if recognizer.streaming:
            self._streaming = asyncio.create_task(self._stream())

    def add(self, pcm: Pcm) -> None:
        """Take the next frame; never waits."""
        if self._streaming:
            self._feed.put_nowait(pcm)
        else:
            self._frames.append(pcm)

    def pause(self, on_words: Callable[[str], None]) -> bool:
        """The caller may have finished: decode ahead, so that the endpoint finds it done.

        `on_words` gets the words so far, unless the caller has gone on by then. Returns whether
        they are still to come.
        """
        if self._streaming:
            self._on_words = on_words
            if self._partial:
                on_words(self._partial)
            return False
        ahead = self._ahead = asyncio.create_task(self._decode())

        def decoded(task: asyncio.Task[Transcript]) -> None:
            if self._ahead is ahead and not task.cancelled() and not task.exception():
                on_words(task.result().text)

        ahead.add_done_callback(decoded)
        return True

    def resume(self) -> None:
        """The caller goes on: what was decoded ahead is not the whole turn."""
        if self._ahead:
            self._ahead.cancel()  # where it still waits for its turn, nobody's core is wasted
        self._ahead = None
        self._on_words = None

    async def finish(self) -> Transcript:
        """The transcript; empty when the recogniser fails or hangs, which is logged."""
        if self._streaming:
            self._feed.put_nowait(None)
        task = self._streaming or self._ahead or asyncio.create_task(self._decode())
        try:
            return await asyncio.wait_for(task, RECOGNITION_LIMIT_S)
        except TimeoutError:
            log.error("the recogniser hangs; the caller is asked to say it again")
        except Exception:
            log.exception("the recogniser failed; the caller is asked to say it again")
        return Transcript("")

    async def _decode(self) -> Transcript:
        audio = np.concatenate(self._frames) if self._frames else np.zeros(0, np.int16)
        stream = self._recognizer.open(self._rate, self._expecting)

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
                self._on_words(self._partial)
        return await loop.run_in_executor(self._workers, stream.finish)


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
        self._utterance: Utterance | None = None
        self._recognising: set[asyncio.Task[None]] = set()
        self._now_ms = 0.0
        self._vad_ms = 0.0
        self.turns: asyncio.Queue[Heard] = asyncio.Queue()
        self.interrupted = asyncio.Event()
        """Set when the caller starts to speak or keys a digit; the listener clears it."""

    @property
    def speaking(self) -> bool:
        """Whether the caller is speaking just now."""
        return self._turns.speaking

    @property
    def busy(self) -> bool:
        """Whether a turn is being spoken, keyed or recognised."""
        return self._turns.speaking or self._keys.pending or bool(self._recognising)

    def expect(self, expecting: Expecting) -> None:
        """The kind of answer awaited from here on."""
        self._turns.expecting = self._keys.expecting = expecting

    def playing(self, playing: bool) -> None:
        """Whether the hotline is speaking just now."""
        self._turns.playing = playing

    async def run(self) -> None:
        """Listen until the line drops."""
        async for item in self._channel.frames():
            if isinstance(item, Key):
                self._key(item.digit)
            else:
                self._frame(item.pcm)

    def _key(self, digit: str) -> None:
        self.interrupted.set()
        self._keyed(self._keys.key(digit, self._now_ms))

    def _keyed(self, digits: str | None) -> None:
        if digits is not None:
            now = asyncio.get_running_loop().time()
            self.turns.put_nowait(Heard(Keys(digits), now, now, now))

    def _frame(self, pcm: Pcm) -> None:
        self._now_ms += len(pcm) * 1000 / self._channel.rate
        self._keyed(self._keys.tick(self._now_ms))
        if self._utterance:
            self._utterance.add(pcm)
        else:
            self._lookback.append(pcm)
        for probability in self._vad.accept(pcm):
            self._vad_ms += CHUNK_MS
            self._follow(probability)

    def _follow(self, probability: float) -> None:
        match self._turns.accept(probability, self._vad_ms):
            case VoiceStarted():
                self._utterance = Utterance(
                    self._recognizer, self._channel.rate, self._turns.expecting, self._workers
                )
                for pcm in self._lookback:
                    self._utterance.add(pcm)
                self._lookback.clear()
                self.interrupted.set()
            case VoicePaused() if self._utterance:
                heard = partial(self._heard_so_far, self._utterance)
                self._turns.awaits_words = self._utterance.pause(heard)
            case VoiceResumed() if self._utterance:
                self._utterance.resume()
            case TurnEnded() as turn if self._utterance:
                task = asyncio.create_task(self._recognise(self._utterance, turn))
                self._recognising.add(task)
                task.add_done_callback(self._recognising.discard)
                self._utterance = None

    def _heard_so_far(self, utterance: Utterance, text: str) -> None:
        if utterance is self._utterance and self._turns.paused:
            self._turns.words = completeness(text, self._turns.expecting)

    async def _recognise(self, utterance: Utterance, turn: TurnEnded) -> None:
        loop = asyncio.get_running_loop()
        endpoint = loop.time()
        voice_ended = endpoint - (self._vad_ms - turn.voice_ended_ms) / 1000
        transcript = await utterance.finish()
        self.turns.put_nowait(
            Heard(
                transcript,
                voice_ended,
                endpoint,
                loop.time(),
                turn.voice_ended_ms - turn.started_ms,
            )
        )
