"""The prompt cache: sentences that are always the same, rendered ahead and kept on disk.

Only render() writes. What is spoken in a call may hold names and amounts, and must not stay on
disk; its fixed sentences come from the cache all the same, since lookup is by sentence. So do the
words that a sentence begins with before its first number: they play while the rest is synthesised.
"""

import asyncio
import contextlib
import hashlib
import inspect
import logging
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import numpy as np

from assistant import models
from assistant.channels.channel import Pcm
from assistant.model_sources import Progress
from assistant.speech import chunks
from assistant.speech.spoken import sentences, spoken
from assistant.speech.synthesizer import Synthesizer

LIMIT_BYTES = 2 << 30
"""Twelve hours of 24 kHz speech: every prompt and card in two voices; then the oldest go."""

SHORTEST_BEGINNING = 5
"""Syllables: a second of speech, what the engine needs to have the number ready. After fewer words
the caller would hear a hole."""

_BEGINNING = re.compile(r"[^\d，、：,:—…]+(?=\d)")

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where rendered prompts are kept."""
    return models.cache() / "prompts"


def beginning(sentence: str) -> str:
    """The words of a sentence before the number in its first clause; empty where too short."""
    match = _BEGINNING.match(sentence)
    return match[0] if match and len(spoken(match[0])) >= SHORTEST_BEGINNING else ""


class PromptCache:
    """A synthesiser that knows some sentences by heart; the others it leaves to `inner`."""

    def __init__(
        self,
        inner: Synthesizer,
        home: Path | None = None,
        limit_bytes: int = LIMIT_BYTES,
        source: Path | None = None,
    ) -> None:
        """`source` is the file of the engine's code, where `inner` only leads to it."""
        self.name = inner.name
        self.voice = inner.voice
        self.rate = inner.rate
        self._inner = inner
        self._home = home or folder()
        self._limit_bytes = limit_bytes
        # a change to the engine's code, or to where chunks are cut, changes how it sounds
        sources = (source or inspect.getfile(type(inner)), chunks.__file__)
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
            words = await asyncio.to_thread(self._begin, sentence, speed)
            if words is not None:
                begun, sentence = words
                yield begun
            async for pcm in self._inner.speak(sentence, speed):
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

    def _begin(self, sentence: str, speed: float) -> tuple[Pcm, str] | None:
        """The audio of the beginning and the words after it; None where it is not rendered."""
        words, said = spoken(beginning(sentence)), spoken(sentence)
        # the whole is read first: how 1234 is said depends on the words before it
        if not words or not said.startswith(words):
            return None
        pcm = self._read(self._path(words, speed))
        return None if pcm is None else (pcm, said.removeprefix(words))

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
