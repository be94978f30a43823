"""The prompt cache: sentences that are always the same, rendered ahead and kept on disk.

Only render() writes. What is spoken in a call may hold names and amounts, and must not stay on
disk; its fixed sentences come from the cache all the same, since lookup is by sentence.
"""

import asyncio
import contextlib
import hashlib
import inspect
import logging
import os
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

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where rendered prompts are kept."""
    return models.cache() / "prompts"


class PromptCache:
    """A synthesiser that knows some sentences by heart; the others it leaves to `inner`."""

    def __init__(
        self, inner: Synthesizer, home: Path | None = None, limit_bytes: int = LIMIT_BYTES
    ) -> None:
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
