"""G.711 A-law by table (ITU-T G.711, table 1), for callers that bring no codec along."""

import numpy as np

from assistant.channels.channel import Pcm

SILENCE = 0xD5
"""The code of a sample that is zero."""


def _levels() -> Pcm:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(
        exponent == 0, mantissa * 2 + 1, (mantissa * 2 + 33) << np.maximum(exponent - 1, 0)
    )
    levels: Pcm = (np.where(code & 0x80, size, -size) * 8).astype(np.int16)
    return levels


LEVELS = _levels()
"""The sample that each code stands for."""

_ORDER = np.argsort(LEVELS, kind="stable")
_BETWEEN = (LEVELS[_ORDER][:-1].astype(np.int32) + LEVELS[_ORDER][1:]) // 2


def encode(pcm: Pcm) -> bytes:
    """int16 to A-law, each sample to the nearest level."""
    return _ORDER[np.searchsorted(_BETWEEN, pcm, side="right")].astype(np.uint8).tobytes()


def loudest(payload: bytes) -> int:
    """The largest amplitude in a packet, 0 to 32,767."""
    codes = np.frombuffer(payload, np.uint8)
    return int(np.abs(LEVELS[codes].astype(np.int32)).max(initial=0))
