"""The numbers of one voice: their carriers on disk, and every number joined from them."""

import asyncio
import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from assistant.channels.channel import Pcm
from assistant.model_sources import Progress
from assistant.speech import number_units
from assistant.speech.synthesizer import SynthesisError
from assistant.speech.unit_selection import Aligned, Inventory

log = logging.getLogger(__name__)


class AlignedSynthesizer(Protocol):
    """An engine that tells where each character is."""

    def render(self, number: str, speed: float) -> Aligned:
        """A phrase of units that ends in a full stop. Raises SynthesisError."""
        ...


class NumberVoice:
    """Says numbers in one voice. Only render() writes, and only carriers."""

    def __init__(
        self,
        home: Path,
        key: bytes,
        rate: int,
        pauses_ms: Mapping[str, int],
        load: Callable[[], AlignedSynthesizer],
    ) -> None:
        """`home` is where carriers are kept; `key` is what their sound depends on besides text and
        speed; `pauses_ms` follow a clause by its mark; `load` loads the engine when it is needed.
        """
        self.rate = rate
        self.pauses_ms = pauses_ms
        self._home = home
        self._key = key
        self._load = load
        self._engine: AlignedSynthesizer | None = None
        self._inventories: dict[float, Inventory] = {}

    def say(self, number: str, speed: float) -> Pcm | None:
        """The number; None where not all of its units are rendered."""
        return self._inventory(speed).say(number)

    async def render(
        self,
        carriers: Iterable[str],
        progress: Progress = lambda line: None,
        speed: float = 1.0,
    ) -> int:
        """Render the carriers that are not there yet; returns how many.

        Where the disk does not take them, one line says so and numbers are synthesised in calls.
        Raises SynthesisError or ModelError.
        """
        missing = [text for text in carriers if not self._path(text, speed).exists()]
        inventory = await asyncio.to_thread(self._inventory, speed)
        for number, text in enumerate(missing, 1):
            progress(f"rendering number {number} of {len(missing)}")
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._load)
            try:
                aligned = await asyncio.to_thread(self._engine.render, text, speed)
                await asyncio.to_thread(_store, self._path(text, speed), aligned)
            except SynthesisError as error:
                log.warning("a number is synthesised in calls: %s", error)
                continue
            except OSError as error:
                log.warning("numbers are not kept, %s cannot be written: %s", self._home, error)
                return number - 1
            inventory.add(text, aligned)
        return len(missing)

    def release(self) -> None:
        """Give the engine's memory back: all is rendered."""
        self._engine = None

    def _inventory(self, speed: float) -> Inventory:
        """What is on disk, read once."""
        if speed not in self._inventories:
            inventory = Inventory(self.rate)
            for text in number_units.carriers():
                if aligned := _read(self._path(text, speed)):
                    inventory.add(text, aligned)
            self._inventories[speed] = inventory
        return self._inventories[speed]

    def _path(self, text: str, speed: float) -> Path:
        digest = hashlib.sha256(self._key + f"\0{speed:.3f}\0{text}".encode()).hexdigest()
        return self._home / f"{digest}.npz"


def _read(path: Path) -> Aligned | None:
    """A stored carrier; None where it is not there or not whole."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Aligned(stored["pcm"], stored["steady"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        log.warning("number %s is not readable and is synthesised: %s", path.name, error)
        path.unlink(missing_ok=True)
        return None


def _store(path: Path, aligned: Aligned) -> None:
    """Write whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez(file, pcm=aligned.pcm, steady=aligned.steady)
            file.flush()
            os.replace(file.name, path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
