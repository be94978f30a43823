"""What hears and speaks in a call: one recogniser, and the synthesisers in order of preference."""

import asyncio
from dataclasses import dataclass

import numpy as np

from assistant.settings import Speech
from assistant.speech import recognizers, synthesizers
from assistant.speech.prompts import PromptCache
from assistant.speech.recognizer import Recognizer, transcribe
from assistant.speech.synthesizer import Synthesizer


@dataclass(frozen=True, slots=True)
class Engines:
    """Loaded here, or those of a speech server (client.py); calls cannot tell."""

    recognizer: Recognizer
    synthesizers: tuple[Synthesizer, ...]
    """Never empty; the next one speaks where one fails."""

    @property
    def cache(self) -> PromptCache | None:
        """The prompt cache in front of the preferred voice; None where turned off."""
        first = self.synthesizers[0]
        return first if isinstance(first, PromptCache) else None


async def load(speech: Speech) -> Engines:
    """Both in this process, warm. Raises ModelError or ConfigError."""
    recognition = await asyncio.to_thread(recognizers.load, speech)
    synthesis = await asyncio.to_thread(synthesizers.load, speech)
    await warm_up(recognition.recognizer, synthesis.synthesizers[0])
    return Engines(recognition.recognizer, synthesis.synthesizers)


async def warm_up(recognizer: Recognizer, synthesizer: Synthesizer) -> None:
    """Speak and hear once: the first time costs a second that no caller should wait.

    Raises SynthesisError.
    """
    sound = [pcm async for pcm in synthesizer.speak("您好。")]
    speech = np.concatenate([np.zeros(0, np.int16), *sound])
    await asyncio.to_thread(transcribe, recognizer, speech, synthesizer.rate)
