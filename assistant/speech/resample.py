"""The one place where audio changes its rate."""

import numpy as np
import soxr

from assistant.channels.channel import Pcm


class Resampler:
    """Mono int16 from one rate to another, across any chunking.

    It keeps the filter's state between chunks: a resampler that starts afresh on every 20 ms
    frame clicks fifty times a second, and recognition suffers.
    """

    def __init__(self, source_hz: int, target_hz: int, *, at_once: bool = False) -> None:
        """`at_once`: every sample is passed on when it comes, by a cubic; the better filter works
        in blocks of 100 ms (8 to 16 kHz), which is late for whoever decides by what is heard."""
        self._stream = None
        if source_hz != target_hz:
            quality = "QQ" if at_once else "HQ"
            self._stream = soxr.ResampleStream(
                source_hz, target_hz, 1, dtype="int16", quality=quality
            )

    def accept(self, pcm: Pcm) -> Pcm:
        """What the filter yields so far; a few milliseconds stay inside until finish()."""
        if self._stream is None or not len(pcm):
            return pcm
        resampled: Pcm = self._stream.resample_chunk(np.ascontiguousarray(pcm))
        return resampled

    def finish(self) -> Pcm:
        """The rest that was inside the filter. Called once, after the last accept()."""
        nothing: Pcm = np.zeros(0, np.int16)
        if self._stream is None:
            return nothing
        rest: Pcm = self._stream.resample_chunk(nothing, last=True)
        return rest


def resample(pcm: Pcm, source_hz: int, target_hz: int) -> Pcm:
    """A whole recording at another rate."""
    resampler = Resampler(source_hz, target_hz)
    return np.concatenate([resampler.accept(pcm), resampler.finish()])
