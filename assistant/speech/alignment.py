"""Kokoro's numbers with the place of each syllable, to cut units from.

The model computes how long each phoneme lasts, and keeps it to itself; here that is a second
output. Only rendering ahead needs it: calls keep the plain network.
"""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from assistant import models
from assistant.speech.kokoro import Kokoro, Network
from assistant.speech.synthesizer import SynthesisError
from assistant.speech.unit_selection import Aligned

DURATIONS = "/encoder/Clip_output_0"
"""The value inside the model: how many frames each phoneme lasts, the padding's included."""

FRAME = 600
"""Samples of one frame, 25 ms."""

NASAL = frozenset("万千三元年分零两")
"""Characters of numbers that end in n or ng, a phoneme after their tone."""

STEADY = 0.4
"""How far into the last phonemes of a syllable to cut: past the vowel's onset, well before the next
syllable colours it. Later, and a nasal takes the l of 零 with it."""

PACE = 0.85
"""Of a number beside the voice's own speed. A long one comes in one breath, and at full speed too
fast to be understood; so much slower it takes the time it takes clause by clause."""


class AlignedKokoro(Kokoro):
    """A voice that tells when it says what."""

    def __init__(self, voice: str, threads: int = 2) -> None:
        """Load the model. Raises ModelError, also where it lacks the inner value."""
        self._timed = _TimedNetwork(threads)
        super().__init__(voice, network=self._timed)

    def render(self, number: str, speed: float) -> Aligned:
        """A phrase of units (see number_units) that ends in a full stop. Raises SynthesisError."""
        return self._timed.align(number, self._styles, PACE * speed)


class _TimedNetwork(Network):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        file = models.find("kokoro") / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                file.read_bytes() + _as_output(DURATIONS),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # onnxruntime's errors share no base class
            raise models.ModelCorrupt(f"kokoro: {file}: no {DURATIONS}: {error}") from error
        self._tones = {self._ids[tone] for tone in "↗→↓↘"}

    def align(self, number: str, styles: NDArray[np.float32], speed: float) -> Aligned:
        (ids,) = self.inputs(number)
        tones = [place for place, symbol in enumerate(ids, 1) if symbol in self._tones]
        characters = number.rstrip("。")
        if len(tones) != len(characters):
            raise SynthesisError(f"{number}: its characters and its tones do not correspond")
        inputs = {
            "tokens": np.array([[0, *ids, 0]], dtype=np.int64),
            "style": styles[len(ids) - 1][None],
            "speed": np.array([speed], dtype=np.float32),
        }
        try:
            audio, frames = self._session.run(["audio", DURATIONS], inputs)
        except Exception as error:  # onnxruntime's errors share no base class
            raise SynthesisError(f"Kokoro failed: {error}") from error
        starts = np.concatenate([[0], np.cumsum(np.ravel(frames))]) * FRAME
        steady = [
            # a nasal end is the tone and the phoneme after it, an open one the vowel and the tone
            (1 - STEADY) * starts[tone - (not nasal)] + STEADY * starts[tone + 1 + nasal]
            for tone, nasal in zip(tones, (c in NASAL for c in characters), strict=True)
        ]
        pcm = (np.clip(np.ravel(audio), -1, 1) * 32767).astype(np.int16)
        return Aligned(pcm, np.round(steady).astype(np.int64))


def _as_output(value: str) -> bytes:
    """What makes a value inside an ONNX model an output when appended to the model's bytes.

    Protocol buffers merge what comes twice: field 7 of the model is its graph, field 12 of a graph
    an output, field 1 of that its name.
    """
    message = value.encode()
    for field in (1, 12, 7):
        message = bytes([field << 3 | 2, len(message)]) + message
    return message
