"""What the caller hears: replies become speech on the wire, and it is known how much was heard."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from assistant.channels.channel import FRAME_MS, Channel, Pcm
from assistant.loudness import amplified
from assistant.smooth_start import SmoothStart, expected_s
from assistant.speech.resample import Resampler, resample
from assistant.speech.spoken import sentences
from assistant.speech.synthesizer import SynthesisError, Synthesizer
from assistant.speech.urgency import needed_by

log = logging.getLogger(__name__)

SENTENCE_GAP_MS = 160
"""Silence between sentences: read without it, two cached sentences run into each other."""

AHEAD_S = 12.0
"""Sound synthesised ahead of what plays: hides the next sentence's synthesis, and a slow voice
must not be kept waiting."""

NO_SOUND_S = 3.0
"""A synthesiser that gives nothing for so long hangs; the next one speaks."""

BRIDGE_AFTER_S = 0.12
"""What is rendered ahead is there by then; for anything else a second or two of silence would
follow, which a few words bridge."""

BRIDGE_AGAIN_S = 1.5
"""So long after the first words, the caller is asked for more patience."""

AVOID_S = 30.0
"""One that has hung is tried last for so long: each try costs the caller NO_SOUND_S of silence."""

HOLD_BACK_S = 3.0
"""The caller hears nothing for at most so long while sound is gathered that would else break off:
then the next synthesiser speaks, or what there is is played."""


@dataclass(frozen=True, slots=True)
class Bridges:
    """Words that tell a caller they were understood while the answer is still synthesised."""

    first: Sequence[Pcm] = ()
    """Taken in turn, answer by answer."""
    again: Sequence[Pcm] = ()
    """Said once more, where the answer still does not come."""
    rate: int = 8000
    """Hz."""


NO_BRIDGES = Bridges()


@dataclass(slots=True)
class _Piece:
    """One sentence; lengths in samples at the channel's rate."""

    text: str
    synthesised: int = 0
    complete: bool = False
    """Whether `synthesised` is its whole length."""
    played: int = 0


class Playback:
    """Speaks to one caller, one reply at a time."""

    def __init__(
        self,
        channel: Channel,
        synthesizers: Sequence[Synthesizer],
        usual_speed: float = 1.0,
        bridges: Bridges = NO_BRIDGES,
    ) -> None:
        """`usual_speed` is the configured one, at which the prompt cache was rendered."""
        self._channel = channel
        self._synthesizers = synthesizers
        self._usual_speed = usual_speed
        self._bridges = bridges
        self._bridged = 0
        self._gap = np.zeros(channel.rate * SENTENCE_GAP_MS // 1000, np.int16)
        self._pieces: list[_Piece] = []
        self._ahead = 0
        self._room = asyncio.Event()
        self._begun = asyncio.Event()
        """Set once there is something to play."""
        self._avoided: dict[Synthesizer, float] = {}
        """Synthesisers that have hung, and until when they are tried last."""
        self._dry_since: float | None = None
        """Since when nothing is left to play; None while something is."""
        self.pace = 1.0
        """What the caller asked for, beside the usual speed; 0.8 is slower."""
        self.volume_db = 0.0
        """What the caller asked for, beside the usual level; 6 is louder."""

    async def say(
        self,
        text: str,
        on_first_audio: Callable[[], None] = lambda: None,
        *,
        bridge: bool = False,
    ) -> None:
        """Speak `text` to its end. Raises ChannelClosed when the caller hangs up meanwhile.

        `bridge`: a few words before it, where it is not there at once. Cancel it to interrupt,
        then call stop().
        """
        self._pieces = []
        self._ahead = 0
        self._begun.clear()
        chunks: asyncio.Queue[tuple[_Piece, Pcm] | None] = asyncio.Queue()
        synthesis = asyncio.create_task(self._synthesise(text, chunks))
        first = True
        try:
            if bridge:
                first = not await self._bridge(on_first_audio)
            while chunk := await self._next(chunks):
                piece, pcm = chunk
                if first and len(pcm):
                    on_first_audio()
                    first = False
                await self._play(piece, pcm)
                self._ahead -= len(pcm)
                self._room.set()
            await self._channel.drain()
        finally:
            synthesis.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await synthesis

    def stop(self) -> str:
        """Silence at once; returns the words of the last say() that the caller has heard."""
        unheard = self._channel.clear()
        for piece in reversed(self._pieces):
            dropped = min(unheard, piece.played)
            unheard -= dropped
            piece.played -= dropped
            length = piece.synthesised
            if not piece.complete:
                length = max(length, round(expected_s(piece.text) * self._channel.rate))
            piece.text = piece.text[: len(piece.text) * piece.played // max(1, length)]
        return "".join(piece.text for piece in self._pieces)

    async def _bridge(self, on_first_audio: Callable[[], None]) -> bool:
        """Say something until the first sound is there; returns whether anything was said."""
        said = False
        kinds = (self._bridges.first, BRIDGE_AFTER_S), (self._bridges.again, BRIDGE_AGAIN_S)
        for sounds, patience_s in kinds:
            if not sounds or await self._begins(patience_s):
                break
            if not said:
                on_first_audio()
            said = True
            sound = sounds[self._bridged % len(sounds)]
            pcm = np.concatenate(
                [resample(sound, self._bridges.rate, self._channel.rate), self._gap]
            )
            piece = _Piece("", synthesised=len(pcm), complete=True)
            self._pieces.insert(0, piece)
            await self._play(piece, pcm)
        self._bridged += said
        return said

    async def _begins(self, within_s: float) -> bool:
        """Whether the first sound is there within so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), within_s)
        return self._begun.is_set()

    async def _play(self, piece: _Piece, pcm: Pcm) -> None:
        # Here, before the channel: an echo is known by what the channel has sent.
        pcm = amplified(pcm, self.volume_db)
        step = self._channel.rate * FRAME_MS // 1000
        for start in range(0, len(pcm), step):
            frame = pcm[start : start + step]
            await self._channel.play(frame)
            piece.played += len(frame)

    async def _next(
        self, chunks: asyncio.Queue[tuple[_Piece, Pcm] | None]
    ) -> tuple[_Piece, Pcm] | None:
        if chunks.empty():
            self._dry_since = asyncio.get_running_loop().time()
        chunk = await chunks.get()
        self._dry_since = None
        return chunk

    async def _synthesise(
        self, text: str, chunks: asyncio.Queue[tuple[_Piece, Pcm] | None]
    ) -> None:
        runs_out = 0.0
        for sentence in sentences(text):
            piece = _Piece(sentence)
            self._pieces.append(piece)
            synthesizers = self._in_order()
            for synthesizer in synthesizers:
                is_last = synthesizer is synthesizers[-1]
                try:
                    async for pcm in self._smooth(synthesizer, sentence, is_last):
                        piece.synthesised += len(pcm)
                        self._ahead += len(pcm)
                        # what the caller has in hand is what the next chunk may take
                        runs_out = max(runs_out, time.monotonic()) + len(pcm) / self._channel.rate
                        needed_by.set(runs_out)
                        chunks.put_nowait((piece, pcm))
                        if len(pcm):
                            self._begun.set()
                        await self._wait_for_room()
                    piece.synthesised += len(self._gap)
                    piece.complete = True
                    self._ahead += len(self._gap)
                    chunks.put_nowait((piece, self._gap))
                    break
                except SynthesisError as error:
                    if isinstance(error, _Hangs):
                        self._avoided[synthesizer] = asyncio.get_running_loop().time() + AVOID_S
                    log.warning("%s cannot speak this sentence: %s", synthesizer.name, error)
            else:
                log.error("no synthesiser can speak; the caller misses one sentence")
        chunks.put_nowait(None)
        self._begun.set()

    def _in_order(self) -> list[Synthesizer]:
        now = asyncio.get_running_loop().time()
        return sorted(self._synthesizers, key=lambda each: self._avoided.get(each, 0.0) > now)

    async def _wait_for_room(self) -> None:
        while self._ahead > AHEAD_S * self._channel.rate:
            self._room.clear()
            await self._room.wait()

    async def _smooth(
        self, synthesizer: Synthesizer, sentence: str, is_last: bool
    ) -> AsyncIterator[Pcm]:
        """The sentence at the channel's rate, from when it can be played without a gap.

        Raises SynthesisError when that takes too long and another synthesiser is left to try.
        """
        clock = asyncio.get_running_loop().time
        speed = self._usual_speed * self.pace
        resampler = Resampler(synthesizer.rate, self._channel.rate)
        start = SmoothStart(expected_s(sentence, speed), clock())
        gathered: list[Pcm] = []
        started = False
        async for chunk in _in_time(synthesizer.speak(sentence, speed)):
            gathered.append(resampler.accept(chunk))
            sound_s = sum(map(len, gathered)) / self._channel.rate
            if not started and not start.ready(sound_s, clock()):
                dry_s = clock() - self._dry_since if self._dry_since is not None else 0.0
                if dry_s < HOLD_BACK_S:
                    continue
                if not is_last:
                    raise SynthesisError("it speaks slower than it would be heard")
            started = True
            for pcm in gathered:
                yield pcm
            gathered.clear()
        yield np.concatenate([*gathered, resampler.finish()])


class _Hangs(SynthesisError):
    """No sound came in time; the next try may hang as well."""


async def _in_time(sound: AsyncIterator[Pcm]) -> AsyncIterator[Pcm]:
    """The same, but never a longer wait for more of it than NO_SOUND_S. Raises SynthesisError."""
    while True:
        try:
            async with asyncio.timeout(NO_SOUND_S):
                chunk = await anext(sound, None)
        except TimeoutError:
            raise _Hangs(f"it gave no sound for {NO_SOUND_S:g} s") from None
        if chunk is None:
            return
        yield chunk
