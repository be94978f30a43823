"""Guards that an engine that never comes back costs its own callers a turn, and no others.

Real threads, as the thing that hangs is one.
"""

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from assistant import hearing
from assistant.channels.channel import Pcm
from assistant.hearing import Utterance
from assistant.speech import urgency
from assistant.speech.recognizer import Expecting, Partial, Transcript
from assistant.speech.urgency import UrgencyPool

LIMIT_S = 0.3


class Hanging:
    """A recogniser that never comes back the first `times`, until `released`."""

    name = "hanging"
    streaming = False

    def __init__(self, times: int) -> None:
        self.times = times
        self.released = threading.Event()

    def open(self, rate: int, expecting: Expecting = "free") -> "Hanging":
        return self

    def accept(self, pcm: Pcm) -> Partial | None:
        return None

    def finish(self) -> Transcript:
        self.times -= 1
        if self.times >= 0:
            self.released.wait()
        return Transcript("查养老金", 0.9)

    def abandon(self) -> None:
        pass


@pytest.fixture
def recognizer() -> Iterator[Hanging]:
    hanging = Hanging(2)
    yield hanging
    hanging.released.set()


async def _heard(recognizer: Hanging, pool: UrgencyPool) -> str:
    utterance = Utterance(recognizer, 8000, "free", pool)
    utterance.add(np.zeros(160, np.int16))
    return (await utterance.finish()).text


async def _all_heard(recognizer: Hanging, pool: UrgencyPool, times: int) -> list[str]:
    return await asyncio.gather(*[_heard(recognizer, pool) for _ in range(times)])


async def _until_replaced(name: str, times: int) -> None:
    """Until there are two threads of this name, and so many more that hang."""
    async with asyncio.timeout(5):
        while _threads(name) != 2 + times:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "LIMIT_S", LIMIT_S)


async def test_callers_are_understood_after_two_recognitions_have_hung(
    recognizer: Hanging, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = UrgencyPool(2, "recognition", limit_s=LIMIT_S)
    assert await _all_heard(recognizer, pool, 2) == ["", ""]
    await _until_replaced("recognition", 2)
    monkeypatch.setattr(hearing, "LIMIT_S", 10 * LIMIT_S)
    assert await _all_heard(recognizer, pool, 4) == ["查养老金"] * 4
    assert "2 of at most" in caplog.text
    pool.shutdown(wait=False)


async def test_a_turn_that_waits_behind_the_hanging_ones_is_taken_in_time(
    recognizer: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = UrgencyPool(2, "recognition", limit_s=LIMIT_S)
    hanging = [asyncio.create_task(_heard(recognizer, pool)) for _ in range(2)]
    await asyncio.sleep(LIMIT_S / 3)
    monkeypatch.setattr(hearing, "LIMIT_S", 10 * LIMIT_S)
    assert await _heard(recognizer, pool) == "查养老金"
    assert await asyncio.gather(*hanging) == ["", ""]
    pool.shutdown(wait=False)


async def test_a_thread_that_comes_back_late_is_one_too_many(recognizer: Hanging) -> None:
    pool = UrgencyPool(2, "late", limit_s=LIMIT_S)
    await _all_heard(recognizer, pool, 2)
    await _until_replaced("late", 2)
    recognizer.released.set()
    await _until_replaced("late", 0)
    pool.shutdown(wait=False)


async def test_an_engine_that_always_hangs_does_not_fill_the_memory(
    recognizer: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urgency, "MOST_REPLACED", 3)
    recognizer.times = 99
    pool = UrgencyPool(2, "always", limit_s=LIMIT_S)
    for _ in range(4):
        await _all_heard(recognizer, pool, 2)
    await _until_replaced("always", 3)
    await asyncio.sleep(LIMIT_S)
    assert _threads("always") == 2 + 3
    pool.shutdown(wait=False)


def _threads(name: str) -> int:
    names = [thread.name for thread in threading.enumerate()]
    return sum(each.startswith(f"{name}-") and not each.endswith("watch") for each in names)
