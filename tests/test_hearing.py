"""Guards the way of one utterance through the recogniser: decoded ahead, and given up in time."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assistant.channels.channel import Pcm
from assistant.hearing import Utterance
from assistant.speech.recognizer import Expecting, Partial, Transcript


class Slow:
    """A recogniser that decodes until it is let go or abandoned."""

    name = "slow"
    streaming = False

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()
        self.abandoned: list[int] = []
        self.opened = 0

    def open(self, rate: int, expecting: Expecting = "free") -> "SlowStream":
        self.opened += 1
        return SlowStream(self, self.opened)


class SlowStream:
    """One decoding."""

    def __init__(self, recognizer: Slow, number: int) -> None:
        self._recognizer, self._number = recognizer, number
        self._given_up = threading.Event()
        self._length = 0

    def accept(self, pcm: Pcm) -> Partial | None:
        self._length += len(pcm)
        return None

    def finish(self) -> Transcript:
        self._recognizer.begun.set()
        while not self._recognizer.released.wait(0.01) and not self._given_up.is_set():
            pass
        return Transcript(str(self._length), 0.9)

    def abandon(self) -> None:
        self._given_up.set()
        self._recognizer.abandoned.append(self._number)


def test_a_caller_who_goes_on_takes_no_core_for_what_was_decoded_ahead() -> None:
    async def run() -> tuple[Slow, Transcript]:
        recognizer = Slow()
        frame = np.zeros(160, np.int16)
        with ThreadPoolExecutor(1) as workers:  # the second decoding needs the first one's thread
            utterance = Utterance(recognizer, 8000, "free", workers)
            utterance.add(frame)
            assert utterance.pause(lambda said: None)
            await asyncio.to_thread(recognizer.begun.wait, 5)
            utterance.resume()
            utterance.add(frame)
            recognizer.begun.clear()
            utterance.pause(lambda said: None)
            await asyncio.to_thread(recognizer.begun.wait, 5)
            recognizer.released.set()
            return recognizer, await utterance.finish()

    recognizer, said = asyncio.run(run())
    assert recognizer.abandoned == [1]
    assert said.text == "320"
