"""Guards the light synthesiser: a hanging engine is ended, and the next sentence is spoken.

Runs the real eSpeak NG, the system's and the bundled one.
"""

import asyncio
import os
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from assistant.speech.espeak import WORKER, Pyttsx3
from assistant.speech.synthesizer import SynthesisError

LOUD = 1000
"""Of 32767: well above any noise a synthesiser leaves in silence."""


def _runs(flag: Path) -> bool:
    """Whether the process whose number is in the file is still there."""
    try:
        os.kill(int(flag.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="eSpeak NG is Linux's engine")
@pytest.mark.parametrize("library", ["", "bundled"])
async def test_speaks_again_and_again(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTLINE_ESPEAK", library)
    engine = Pyttsx3()
    for _ in range(2):
        chunks = [pcm async for pcm in engine.speak("您好。余额是58214.36元。")]
        assert len(chunks) == 2
        assert all(pcm.dtype == np.int16 and np.abs(pcm).max() > LOUD for pcm in chunks)
        assert len(chunks[1]) > engine.rate


async def test_slower_is_longer() -> None:
    lengths = []
    for speed in (0.7, 1.4):
        chunks = [pcm async for pcm in Pyttsx3().speak("请说出您的身份证号码。", speed)]
        lengths.append(sum(map(len, chunks)))
    assert lengths[0] > 1.3 * lengths[1]


@pytest.mark.parametrize("text", ["", "😀", "\x00\x07", "。。。"])
async def test_nothing_to_say_gives_nothing(text: str) -> None:
    assert [pcm async for pcm in Pyttsx3().speak(text)] == []


async def test_a_hanging_engine_is_ended_and_the_next_sentence_spoken(tmp_path: Path) -> None:
    """The worker hangs once, as pyttsx3 does, then is the real one."""
    worker = tmp_path / "worker.py"
    flag = tmp_path / "hung"
    worker.write_text(
        textwrap.dedent(f"""
        import os, pathlib, runpy, time
        flag = pathlib.Path({str(flag)!r})
        if not flag.exists():
            flag.write_text(str(os.getpid()))
            time.sleep(600)
        runpy.run_path({str(WORKER)!r}, run_name="__main__")
        """)
    )
    engine = Pyttsx3(worker, deadline_s=2.0)
    with pytest.raises(SynthesisError, match="hung"):
        await anext(aiter(engine.speak("您好。")))
    assert not _runs(flag)
    assert len(await anext(aiter(engine.speak("您好。")))) > 0


def _wait_for(flag: Path) -> None:
    while not flag.exists():
        time.sleep(0.01)


async def test_an_interrupted_sentence_leaves_no_process(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    flag = tmp_path / "started"
    worker.write_text(
        f"import os, pathlib, time\n"
        f"pathlib.Path({str(flag)!r} + '.part').write_text(str(os.getpid()))\n"
        f"os.rename({str(flag)!r} + '.part', {str(flag)!r})\n"
        f"time.sleep(600)\n"
    )

    async def speak() -> None:
        async for _ in Pyttsx3(worker, deadline_s=60).speak("您好。"):
            pass

    task = asyncio.create_task(speak())
    await asyncio.to_thread(_wait_for, flag)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _runs(flag)


async def test_a_failing_engine_says_why(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("raise LookupError('this system has no Mandarin voice')")
    with pytest.raises(SynthesisError, match="no Mandarin voice"):
        await anext(aiter(Pyttsx3(worker).speak("您好。")))
