"""What the caller hears: replies become speech on the wire, and it is known how much was heard."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from assistant.channels.channel import FRAME_MS, Channel, Pcm
from assistant.speech.resample import Resampler
from assistant.speech.spoken import sentences
from assistant.speech.synthesizer import SynthesisError, Synthesizer
from assistant.speech.urgency import needed_by

log = logging.getLogger(__name__)

SENTENCE_GAP_MS = 160
"""Silence between sentences: read without it, two cached sentences run into each other."""

SYLLABLE_MS = 220
"""A spoken character at normal speed, to guess the length of a sentence not yet synthesised."""

AHEAD = 3
"""Chunks synthesised ahead of the one that plays: hides the next sentence's synthesis."""


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
        self, channel: Channel, synthesizers: Sequence[Synthesizer], usual_speed: float = 1.0
    ) -> None:
        """`usual_speed` is the configured one, at which the prompt cache was rendered."""
        self._channel = channel
        self._synthesizers = synthesizers
        self._usual_speed = usual_speed
        self._pieces: list[_Piece] = []
        self.pace = 1.0
        """What the caller asked for, beside the usual speed; 0.8 is slower."""

    async def say(self, text: str, on_first_audio: Callable[[], None] | None = None) -> None:
        """Speak `text` to its end. Raises ChannelClosed when the caller hangs up meanwhile.

        Cancel it to interrupt, then call stop().
        """
        self._pieces = []
        chunks: asyncio.Queue[tuple[_Piece, Pcm] | None] = asyncio.Queue(AHEAD)
        synthesis = asyncio.create_task(self._synthesise(text, chunks))
        try:
            while chunk := await chunks.get():
                piece, pcm = chunk
                if on_first_audio and len(pcm):
                    on_first_audio()
                    on_first_audio = None
                await self._play(piece, pcm)
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
                length = max(length, len(piece.text) * SYLLABLE_MS * self._channel.rate // 1000)
            piece.text = piece.text[: len(piece.text) * piece.played // max(1, length)]
        return "".join(piece.text for piece in self._pieces)

    async def _play(self, piece: _Piece, pcm: Pcm) -> None:
        step = self._channel.rate * FRAME_MS // 1000
        for start in range(0, len(pcm), step):
            frame = pcm[start : start + step]
            await self._channel.play(frame)
            piece.played += len(frame)

    async def _synthesise(
        self, text: str, chunks: asyncio.Queue[tuple[_Piece, Pcm] | None]
    ) -> None:
        gap = np.zeros(self._channel.rate * SENTENCE_GAP_MS // 1000, np.int16)
        runs_out = 0.0
        for sentence in sentences(text):
            piece = _Piece(sentence)
            self._pieces.append(piece)
            for synthesizer in self._synthesizers:
                try:
                    resampler = Resampler(synthesizer.rate, self._channel.rate)
                    async for chunk in synthesizer.speak(sentence, self._usual_speed * self.pace):
                        pcm = resampler.accept(chunk)
                        piece.synthesised += len(pcm)
                        # what the caller has in hand is what the next chunk may take
                        runs_out = max(runs_out, time.monotonic()) + len(pcm) / self._channel.rate
                        needed_by.set(runs_out)
                        await chunks.put((piece, pcm))
                    tail = np.concatenate([resampler.finish(), gap])
                    piece.synthesised += len(tail)
                    piece.complete = True
                    await chunks.put((piece, tail))
                    break
                except SynthesisError as error:
                    log.warning("%s cannot speak this sentence: %s", synthesizer.name, error)
            else:
                log.error("no synthesiser can speak; the caller misses one sentence")
        await chunks.put(None)
