"""Louder or softer, as the caller asks: the same sound at another level, never clipped.

Pure, and without memory: what leaves is a function of each sample alone, so that a chunk's border
cannot be heard.
"""

import numpy as np

from assistant.channels.channel import Pcm

MOST_DB = 12.0
"""Beyond it speech is all distortion and hardly louder: most of it is at the limit then."""

_FULL_SCALE = 32768.0

_KNEE = 0.5
"""From this part of full scale on the sound is bent, with the same slope on both sides."""

_CEILING = 0.97
"""What it is bent towards; a codec's rounding above it must not overflow."""


def amplified(pcm: Pcm, db: float) -> Pcm:
    """`pcm` by so many dB, at most MOST_DB either way; loud samples less, so that none clips."""
    if db == 0:
        return pcm
    db = float(np.clip(db, -MOST_DB, MOST_DB))
    samples = pcm.astype(np.float64) / _FULL_SCALE * 10 ** (db / 20)
    if db > 0:
        room = _CEILING - _KNEE
        over = np.maximum(np.abs(samples) - _KNEE, 0.0)
        bent = np.minimum(np.abs(samples), _KNEE) + room * np.tanh(over / room)
        samples = np.copysign(bent, samples)
    return np.rint(samples * _FULL_SCALE).astype(np.int16)
