"""The prompt cache: sentences that are always the same, rendered ahead and kept on disk.

Only rendering writes. What is spoken in a call may hold names and amounts, and must not stay on
disk; its fixed sentences come from the cache all the same, since lookup is by sentence. So do
clauses that are fixed words and numbers: the words are looked up, the numbers joined.
"""

import asyncio
import contextlib
import hashlib
import inspect
import itertools
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from assistant import models
from assistant.channels.channel import Pcm
from assistant.model_sources import Progress
from assistant.speech import chunks
from assistant.speech.composing import clauses, parts
from assistant.speech.number_voice import NumberVoice
from assistant.speech.spoken import sentences, spoken
from assistant.speech.synthesizer import Synthesizer

LIMIT_BYTES = 2 << 30
"""Twelve hours of 24 kHz speech: every prompt and card in two voices; then the oldest go."""

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where rendered prompts are kept."""
    return models.cache() / "prompts"


class PromptCache:
    """A synthesiser that knows some sentences by heart; the others it leaves to `inner`."""

    def __init__(
        self,
        inner: Synthesizer,
        home: Path | None = None,
        limit_bytes: int = LIMIT_BYTES,
        numbers: NumberVoice | None = None,
    ) -> None:
        self.numbers = numbers
        self.name = inner.name
        self.voice = inner.voice
        self.rate = inner.rate
        self._inner = inner
        self._home = home or folder()
        self._limit_bytes = limit_bytes
        # a change to the engine's code, or to where chunks are cut, changes how it sounds
        sources = (inspect.getfile(type(inner)), chunks.__file__)
        self._engine_code = b"".join(Path(source).read_bytes() for source in sources)

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        """Audio of `text`; a cached sentence at once. Never writes. See Synthesizer."""
        pause = np.zeros(round(self.rate * chunks.SENTENCE_PAUSE_MS / 1000 / speed), np.int16)
        for number, sentence in enumerate(sentences(text)):
            if number:
                yield pause
            cached = await asyncio.to_thread(self._read, self._path(sentence, speed))
            if cached is not None:
                yield cached
                continue
            async for pcm in self._composed(sentence, speed):
                yield pcm

    async def render(
        self, texts: Iterable[str], progress: Progress = lambda line: None, speed: float = 1.0
    ) -> int:
        """Render the sentences of fixed texts that are not there yet; returns how many.

        Where the disk does not take them, one line says so and they are synthesised in calls.
        Raises SynthesisError.
        """
        fixed = dict.fromkeys(sentence for text in texts for sentence in sentences(text))
        paths = {sentence: self._path(sentence, speed) for sentence in fixed}
        missing = [sentence for sentence, path in paths.items() if self._read(path) is None]
        for number, sentence in enumerate(missing, 1):
            progress(f"rendering prompt {number} of {len(missing)}")
            sound = [pcm async for pcm in self._inner.speak(sentence, speed)]
            try:
                self._store(paths[sentence], np.concatenate([np.zeros(0, np.int16), *sound]))
            except OSError as error:
                log.warning("prompts are not kept, %s cannot be written: %s", self._home, error)
                return number - 1
        return len(missing)

    async def _composed(self, sentence: str, speed: float) -> AsyncIterator[Pcm]:
        """The clauses that can be put together at once, the others from the engine."""
        ready = await asyncio.to_thread(self._ready, sentence, speed)
        if all(pcm is None for _, pcm in ready):
            async for pcm in self._inner.speak(sentence, speed):
                yield pcm
            return
        previous = ""
        for known, group in itertools.groupby(ready, key=lambda clause: clause[1] is not None):
            text, sounds = zip(*group, strict=True)
            if previous:
                yield self._pause(previous, speed)
            if known:
                yield np.concatenate([*self._with_pauses(text, sounds, speed)])
            else:
                async for pcm in self._inner.speak("".join(text), speed):
                    yield pcm
            previous = text[-1]

    def _ready(self, sentence: str, speed: float) -> list[tuple[str, Pcm | None]]:
        """The sentence, clause by clause, with the audio of what is rendered."""
        if self.numbers is None:
            return []
        return [
            part
            for clause in clauses(spoken(sentence))
            for part in self._clause(clause, speed) or self._first_words(clause, speed)
        ]

    def _first_words(self, clause: str, speed: float) -> list[tuple[str, Pcm | None]]:
        """The words before a number that is not ready: it is synthesised while they play."""
        words = next(iter(parts(clause)), None)
        if words and not words.number:
            pcm = self._read(self._path(words.text, speed))
            if pcm is not None:
                return [(words.text, pcm), (clause.removeprefix(words.text), None)]
        return [(clause, None)]

    def _clause(self, clause: str, speed: float) -> list[tuple[str, Pcm | None]]:
        """All of a clause; empty where something of it is not rendered."""
        sounds: list[Pcm] = []
        for part in parts(clause):
            if part.number:
                assert self.numbers is not None
                pcm = self.numbers.say(part.text, speed)
                if pcm is not None and sounds:
                    pcm = _as_loud(pcm, sounds[0])
            else:
                pcm = self._read(self._path(part.text, speed))
            if pcm is None:
                return []
            sounds.append(pcm)
        return [(clause, np.concatenate(sounds))] if sounds else []

    def _with_pauses(
        self, texts: Sequence[str], sounds: Sequence[Pcm | None], speed: float
    ) -> Iterator[Pcm]:
        for number, (text, pcm) in enumerate(zip(texts, sounds, strict=True)):
            assert pcm is not None
            yield pcm
            if number + 1 < len(texts):
                yield self._pause(text, speed)

    def _pause(self, clause: str, speed: float) -> Pcm:
        """The silence after a clause, or none between words and their number."""
        assert self.numbers is not None
        if clause[-1].isalnum():
            return np.zeros(0, np.int16)
        pause_ms = self.numbers.pauses_ms.get(clause[-1], chunks.SENTENCE_PAUSE_MS)
        return np.zeros(round(self.rate * pause_ms / 1000 / speed), np.int16)

    def _path(self, sentence: str, speed: float) -> Path:
        key = hashlib.sha256(self._engine_code)
        for part in (self.name, self.voice, str(self.rate), f"{speed:.3f}", spoken(sentence)):
            key.update(part.encode() + b"\0")
        return self._home / f"{key.hexdigest()}.npy"

    def _read(self, path: Path) -> Pcm | None:
        """The stored audio; None when it is not there or not whole."""
        if not path.exists():
            return None
        try:
            pcm: Pcm = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            log.warning("prompt %s is not readable and is synthesised: %s", path.name, error)
            return None
        if pcm.dtype != np.int16 or pcm.ndim != 1:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the least recently used goes first
        return pcm

    def _store(self, path: Path, pcm: Pcm) -> None:
        """Write whole or not at all, then make room. Raises OSError."""
        self._home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._home, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            try:
                np.save(file, pcm)
                file.flush()
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        self._evict(path)

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used until the cache is within its limit."""
        facts = {path: path.stat() for path in self._home.glob("*.npy")}
        size = sum(fact.st_size for fact in facts.values())
        for path in sorted(facts, key=lambda path: facts[path].st_mtime_ns):
            if size <= self._limit_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                size -= facts[path].st_size


def _as_loud(pcm: Pcm, words: Pcm) -> Pcm:
    """A number as loud as the words before it: each phrase is rendered at a level of its own."""
    gain = _voice_level(words) / _voice_level(pcm)
    louder: Pcm = np.clip(pcm * gain, -32767, 32767).astype(np.int16)
    return louder


def _voice_level(pcm: Pcm) -> float:
    """Root mean square of the samples that are no pause."""
    sound = np.abs(pcm.astype(np.float32))
    return float(np.sqrt(np.mean(sound[sound > sound.max() / 20] ** 2)))
