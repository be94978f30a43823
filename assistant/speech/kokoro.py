"""Speech from Kokoro-82M: a voice, its phonemes, and one worker thread that all calls share."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jieba
import numpy as np
import onnxruntime
from misaki.zh import ZHG2P
from numpy.typing import NDArray

from assistant import models
from assistant.channels.channel import Pcm
from assistant.settings import ConfigError
from assistant.speech.chunks import SENTENCE_PAUSE_MS, chunks
from assistant.speech.spoken import sentences, spoken
from assistant.speech.synthesizer import SynthesisError
from assistant.speech.urgency import UrgencyPool

RATE = 24_000
"""Hz; what the model was trained for."""

LONGEST = 510
"""Phonemes in one input; the voice has a style for each number of them up to this one."""

LETTERS = {
    "A": "ˈA", "B": "bˈi", "C": "sˈi", "D": "dˈi", "E": "ˈi", "F": "ˈɛf", "G": "ʤˈi",
    "H": "ˈAʧ", "I": "ˈI", "J": "ʤˈA", "K": "kˈA", "L": "ˈɛl", "M": "ˈɛm", "N": "ˈɛn",
    "O": "ˈO", "P": "pˈi", "Q": "kjˈu", "R": "ˈɑɹ", "S": "ˈɛs", "T": "tˈi", "U": "jˈu",
    "V": "vˈi", "W": "dˈʌbᵊlju", "X": "ˈɛks", "Y": "wˈI", "Z": "zˈi",
}  # fmt: skip
"""English letters by name, in Kokoro's phonemes: the Mandarin front end passes letters through,
and the model would take them for phonemes."""

QUIET = 10 ** (-42 / 20)
"""Below this part of a chunk's loudest 10 ms it is padding (400 ms before and 700 ms after)."""

LEAD_MS, TAIL_MS = 30, 50
"""Kept around the sound: soft onsets (f, sh) and endings lie below the threshold."""

FADE_MS = 5
"""A cut inside the padding's noise floor clicks without a fade."""

PAUSES_MS = {"，": 140, ",": 140, "、": 90, "：": 180, ":": 180, "—": 120, "…": 200}
"""Silence after a chunk, by the mark that ends it; SENTENCE_PAUSE_MS for any other mark."""


class Network:
    """The loaded model, its phonemes and its one worker thread; shared by all voices."""

    def __init__(self, threads: int = 2) -> None:
        """Load the model. Raises ModelError."""
        folder = models.find("kokoro")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # waiting threads would otherwise burn the core that recognition needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base class
            raise models.ModelCorrupt(f"kokoro: {folder / 'model.onnx'}: {error}") from error
        self._ids: dict[str, int] = json.loads((folder / "config.json").read_text("utf-8"))["vocab"]
        self.worker = UrgencyPool(1, "kokoro")
        jieba.setLogLevel(logging.WARNING)
        jieba.initialize()
        self._phonemes = ZHG2P()

    def inputs(self, chunk: str) -> Iterator[list[int]]:
        """The phonemes of a chunk as the model's numbers, at most LONGEST at a time."""
        text = "".join(LETTERS.get(c.upper(), c) + " " * c.isascii() for c in chunk)
        phonemes, _ = self._phonemes(text)
        ids = [self._ids[symbol] for symbol in phonemes if symbol in self._ids]
        for start in range(0, len(ids), LONGEST):
            yield ids[start : start + LONGEST]

    def infer(
        self, ids: list[int], styles: NDArray[np.float32], speed: float, run: Any
    ) -> NDArray[np.float32]:
        """Run the model; setting `run.terminate` breaks it off. Raises SynthesisError."""
        inputs = {
            "tokens": np.array([[0, *ids, 0]], dtype=np.int64),
            "style": styles[len(ids) - 1][None],
            "speed": np.array([speed], dtype=np.float32),
        }
        try:
            (audio,) = self._session.run(None, inputs, run)
        except Exception as error:  # onnxruntime's errors share no base class
            raise SynthesisError(f"Kokoro failed: {error}") from error
        return np.asarray(audio)


class Kokoro:
    """One Mandarin voice of Kokoro-82M (int8 ONNX); 24 kHz."""

    name = "kokoro"
    rate = RATE

    def __init__(
        self, voice: str = "zf_xiaoxiao", threads: int = 2, network: Network | None = None
    ) -> None:
        """`network` is shared where given, else loaded.

        Raises ModelError or, for an unknown voice, ConfigError.
        """
        self.voice = voice
        self._styles = _styles(voice)
        self._network = network or Network(threads)

    def with_voice(self, voice: str) -> "Kokoro":
        """Another voice on the same network. Raises ConfigError."""
        return Kokoro(voice, network=self._network)

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        """Audio of `text` in chunks; see Synthesizer. Text without a sound gives no chunk.

        Calls share the worker chunk by chunk, the most urgent first (urgency.py). Closing the
        iterator stops the chunk in work.
        """
        previous = ""
        for sentence in sentences(spoken(text)):
            for chunk in chunks(sentence):
                if sound := await self._in_worker(chunk, speed):
                    yield np.concatenate([_pause(previous, speed), *sound])
                    previous = chunk

    async def _in_worker(self, chunk: str, speed: float) -> list[Pcm]:
        run = onnxruntime.RunOptions()
        work = asyncio.get_running_loop().run_in_executor(
            self._network.worker, self._synthesise, chunk, speed, run
        )
        try:
            return await work
        except asyncio.CancelledError:
            # frees the worker within milliseconds for whoever speaks next
            run.terminate = True
            raise

    def _synthesise(self, chunk: str, speed: float, run: Any) -> list[Pcm]:
        return [
            _trimmed(self._network.infer(ids, self._styles, speed, run))
            for ids in self._network.inputs(chunk)
        ]


def _styles(voice: str) -> NDArray[np.float32]:
    """The voice's style vectors, one for each number of phonemes: 510 x 256."""
    folder = models.find("kokoro-voices-zh")
    path = folder / f"{voice}.bin"
    known = sorted(file.stem for file in folder.glob("z*.bin"))
    if voice not in known:
        raise ConfigError(f"speech.voice = {voice!r}: unknown; known: {', '.join(known)}")
    return np.fromfile(path, dtype=np.float32).reshape(LONGEST, 256)


def _trimmed(audio: NDArray[np.float32]) -> Pcm:
    """Without the padding around the sound, faded at both cuts; empty when there is no sound."""
    window = RATE // 100
    frames = audio[: len(audio) // window * window].reshape(-1, window)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    if not len(loudness) or not loudness.max() > 0:
        return np.zeros(0, np.int16)
    (loud,) = np.nonzero(loudness > loudness.max() * QUIET)
    start = max(0, loud[0] * window - RATE * LEAD_MS // 1000)
    end = min(len(audio), (loud[-1] + 1) * window + RATE * TAIL_MS // 1000)
    sound = audio[start:end].copy()
    fade = np.linspace(0, 1, min(len(sound), RATE * FADE_MS // 1000), dtype=np.float32)
    sound[: len(fade)] *= fade
    sound[len(sound) - len(fade) :] *= fade[::-1]
    return (np.clip(sound, -1, 1) * 32767).astype(np.int16)


def _pause(previous: str, speed: float) -> Pcm:
    """Silence after the chunk `previous`; none before the first one."""
    mark = previous[-1:]
    if not mark or mark.isalnum():
        return np.zeros(0, np.int16)
    return np.zeros(round(RATE * PAUSES_MS.get(mark, SENTENCE_PAUSE_MS) / 1000 / speed), np.int16)
