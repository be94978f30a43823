"""Which synthesisers speak: chosen once at start, from the configuration and what is there."""

import logging
from dataclasses import dataclass
from pathlib import Path

from assistant import models
from assistant.settings import Speech
from assistant.speech.prompts import PromptCache
from assistant.speech.synthesizer import Synthesizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The synthesisers, the preferred one first, and the line that says why it is so."""

    synthesizers: tuple[Synthesizer, ...]
    why: str

    @property
    def cache(self) -> PromptCache | None:
        """The prompt cache in front of the preferred one, for rendering; None where turned off."""
        first = self.synthesizers[0]
        return first if isinstance(first, PromptCache) else None


def choose(speech: Speech) -> tuple[str, str]:
    """The engine to prefer, and why; loads nothing.

    A missing Kokoro is a reason for another engine; a damaged one is not: raises ModelCorrupt.
    """
    if speech.synthesizer != "auto":
        return speech.synthesizer, f"{speech.synthesizer} speaks (speech.synthesizer)"
    try:
        models.find("kokoro")
        models.find("kokoro-voices-zh")
    except models.ModelMissing as missing:
        return "pyttsx3", f"pyttsx3 speaks (auto): {missing}"
    return "kokoro", "Kokoro speaks (auto: its model is present)"


def load(speech: Speech) -> Loaded:
    """Load what `choose` says, with pyttsx3 behind Kokoro for the sentence it cannot speak.

    Raises ModelError or, for an unknown voice, ConfigError.
    """
    engine, why = choose(speech)
    log.info(why)
    return Loaded(in_order(speech, kokoro(speech) if engine == "kokoro" else None), why)


def kokoro(speech: Speech) -> Synthesizer:
    """Kokoro, loaded. Raises ModelError or, for an unknown voice, ConfigError."""
    from assistant.speech.kokoro import Kokoro

    return Kokoro(speech.voice, speech.threads)


def in_order(
    speech: Speech, preferred: Synthesizer | None, source: Path | None = None
) -> tuple[Synthesizer, ...]:
    """`preferred` behind the prompt cache, then pyttsx3; `source` as for PromptCache."""
    from assistant.speech.espeak import Pyttsx3

    fallback = Pyttsx3()
    first = preferred or fallback
    others = (fallback,) if preferred else ()
    return (PromptCache(first, source=source) if speech.prompt_cache else first, *others)
