"""Guards the prompt cache: fixed sentences come from disk, nothing of a caller is ever kept there,
and a broken or full disk costs time, never speech.
"""

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from assistant.channels.channel import Pcm
from assistant.speech.prompts import PromptCache, beginning
from assistant.speech.synthesizer import SynthesisError

GREETING = "您好，这里是社会保险服务热线。请讲。"


class Tone:
    """A synthesiser that counts: two chunks a sentence, each as long as the text."""

    name = "tone"
    voice = "a440"
    rate = 8000

    def __init__(self, broken: bool = False) -> None:
        self.spoken: list[str] = []
        self._broken = broken

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        self.spoken.append(text)
        yield np.full(len(text), 1000, np.int16)
        if self._broken:
            raise SynthesisError("out of tune")
        yield np.full(len(text), 2000, np.int16)


async def _hear(cache: PromptCache, text: str, speed: float = 1.0) -> Pcm:
    return np.concatenate([np.zeros(0, np.int16), *[pcm async for pcm in cache.speak(text, speed)]])


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_what_is_rendered_is_not_synthesised_again(tmp_path: Path) -> None:
    tone = Tone()
    fresh = await _hear(PromptCache(tone, tmp_path / "none"), GREETING)
    assert await PromptCache(tone, tmp_path).render([GREETING]) == 2
    tone.spoken.clear()
    cache = PromptCache(tone, tmp_path)
    assert np.array_equal(await _hear(cache, GREETING), fresh)
    assert tone.spoken == []
    assert await cache.render([GREETING]) == 0


async def test_speaking_writes_nothing(tmp_path: Path) -> None:
    await _hear(PromptCache(Tone(), tmp_path), "王先生，您的余额是58214.36元。")
    assert _files(tmp_path) == []


async def test_only_the_variable_sentence_is_synthesised(tmp_path: Path) -> None:
    tone = Tone()
    cache = PromptCache(tone, tmp_path)
    await cache.render(["查到了。还需要什么？"])
    tone.spoken.clear()
    await _hear(cache, "查到了。余额是200元。还需要什么？")
    assert tone.spoken == ["余额是200元。"]


async def test_words_before_a_number_play_while_the_rest_is_synthesised(tmp_path: Path) -> None:
    tone = Tone()
    cache = PromptCache(tone, tmp_path)
    await cache.render(["您的身份证尾号是"])
    before, tone.spoken = _files(tmp_path), []
    heard = cache.speak("您的身份证尾号是1234，对吗？")
    words = await anext(heard)
    assert len(words) == 2 * len("您的身份证尾号是")
    assert tone.spoken == []
    assert len(np.concatenate([pcm async for pcm in heard])) == 2 * len("幺二三四，对吗？")
    assert tone.spoken == ["幺二三四，对吗？"], "read as digits, as the words before it ask"
    assert _files(tmp_path) == before


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("您职工养老个人账户一共有58214.36元。", "您职工养老个人账户一共有"),
        ("利息120元。", ""),
        ("办好了，您的余额一共是3元。", ""),
        ("2026年3月发了6笔。", ""),
        ("您的余额查到了。", ""),
    ],
)
def test_a_beginning_is_long_enough_to_hide_the_synthesis(sentence: str, words: str) -> None:
    assert beginning(sentence) == words


async def test_another_speed_or_voice_is_another_prompt(tmp_path: Path) -> None:
    tone = Tone()
    cache = PromptCache(tone, tmp_path)
    await cache.render([GREETING])
    tone.spoken.clear()
    await _hear(cache, GREETING, speed=0.8)
    tone.voice = "b494"
    await _hear(PromptCache(tone, tmp_path), GREETING)
    assert len(tone.spoken) == 4


@pytest.mark.parametrize("damage", [b"", b"noise", None])
async def test_a_damaged_file_is_a_miss(tmp_path: Path, damage: bytes | None) -> None:
    tone = Tone()
    cache = PromptCache(tone, tmp_path)
    await cache.render(["请讲。"])
    (file,) = _files(tmp_path)
    file.write_bytes(file.read_bytes()[:-3] if damage is None else damage)
    tone.spoken.clear()
    assert len(await _hear(cache, "请讲。")) == 6
    assert tone.spoken == ["请讲。"]
    assert await cache.render(["请讲。"]) == 1


async def test_half_a_prompt_is_never_kept(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError):
        await PromptCache(Tone(broken=True), tmp_path).render([GREETING])
    assert _files(tmp_path) == []


async def test_a_disk_that_takes_nothing_still_speaks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    cache = PromptCache(Tone(), tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert await cache.render([GREETING, "再见。"]) == 0
    assert len(caplog.records) == 1
    assert len(await _hear(cache, "请讲。")) == 6


async def test_a_full_disk_leaves_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert await PromptCache(Tone(), tmp_path).render([GREETING]) == 0
    assert _files(tmp_path) == []
    assert "No space left" in caplog.text


async def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    one = PromptCache(Tone(), tmp_path)
    await one.render(["甲。", "乙。"])
    size = sum(file.stat().st_size for file in _files(tmp_path))
    for file in _files(tmp_path):
        os.utime(file, (0, 0))
    await _hear(one, "甲。")
    small = PromptCache(Tone(), tmp_path, limit_bytes=size)
    await small.render(["丙。"])
    tone = Tone()
    later = PromptCache(tone, tmp_path)
    await _hear(later, "甲。丙。")
    assert tone.spoken == []
    await _hear(later, "乙。")
    assert tone.spoken == ["乙。"]
