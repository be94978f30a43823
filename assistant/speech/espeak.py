"""Speech from pyttsx3: eSpeak NG on Linux, the system's own voice on macOS and Windows.

pyttsx3 is known to hang on its second call and when used from a thread, so every sentence is a
process of its own with a deadline.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import soundfile

from assistant.channels.channel import Pcm
from assistant.speech.resample import resample
from assistant.speech.spoken import sentences, spoken
from assistant.speech.synthesizer import SynthesisError

WORKER = Path(__file__).with_name("espeak_worker.py")

DEADLINE_S = 8.0
"""A sentence takes 0.3 s; one that is not there by then will not come."""

WORDS_PER_MINUTE = 220
"""pyttsx3's unit; three to four Mandarin syllables a second from eSpeak NG 1.51 and 1.52."""

LONGEST = 300
"""Characters in one process: a text without full stops must not outlast the deadline."""


class Pyttsx3:
    """The light fallback; 22.05 kHz, eSpeak NG's rate."""

    name = "pyttsx3"
    voice = "cmn"
    rate = 22_050

    def __init__(self, worker: Path = WORKER, deadline_s: float = DEADLINE_S) -> None:
        self._worker = worker
        self._deadline_s = deadline_s

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        """Audio of `text`, sentence by sentence; see Synthesizer."""
        for sentence in sentences(spoken(text)):
            for start in range(0, len(sentence), LONGEST):
                yield await self._synthesise(sentence[start : start + LONGEST], speed)

    async def _synthesise(self, sentence: str, speed: float) -> Pcm:
        with tempfile.TemporaryDirectory(prefix="hotline-") as folder:
            file = Path(folder) / "speech.wav"
            said = await self._run(sentence, file, round(WORDS_PER_MINUTE * speed))
            try:
                audio, rate = await asyncio.to_thread(soundfile.read, file, dtype="int16")
            except soundfile.LibsndfileError:
                raise SynthesisError(
                    f"pyttsx3 gave no audio: {said or 'no reason given'}"
                ) from None
        mono = audio if audio.ndim == 1 else audio[:, 0]
        return resample(mono, rate, self.rate)

    async def _run(self, sentence: str, file: Path, words_per_minute: int) -> str:
        """Run the worker to its end; returns the last line of its complaints."""
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(self._worker), str(file), str(words_per_minute)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._deadline_s):
                _, complaints = await worker.communicate(sentence.encode())
        except TimeoutError:
            raise SynthesisError(f"pyttsx3 hung for {self._deadline_s} s and was ended") from None
        finally:
            if worker.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.kill()
                await worker.wait()
        lines = complaints.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
