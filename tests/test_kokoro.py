"""Guards the hotline's own voice: sound for every sentence, early, in order, without clicks, and
an interrupted caller costs nobody else anything. Runs the real model.
"""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from assistant import models
from assistant.channels.channel import Pcm
from assistant.cli import main
from assistant.settings import ConfigError, Speech
from assistant.speech import synthesizers
from assistant.speech.chunks import FIRST_SYLLABLES, LONGEST_SYLLABLES, SLACK, chunks
from assistant.speech.kokoro import LONGEST, RATE, Kokoro, Network
from assistant.speech.synthesizer import SynthesisError

BALANCE = "截至2026年11月23日，您的个人账户储存额58214.36元。"

needs_model = pytest.mark.skipif(
    not (models.present("kokoro") and models.present("kokoro-voices-zh")),
    reason="hotline models pull kokoro kokoro-voices-zh",
)


@pytest.fixture(scope="module")
def kokoro() -> Kokoro:
    """One loaded model for all tests."""
    return Kokoro()


async def _hear(voice: Kokoro, text: str, speed: float = 1.0) -> list[Pcm]:
    return [pcm async for pcm in voice.speak(text, speed)]


def _loudness(pcm: Pcm) -> float:
    return float(np.sqrt(np.mean(pcm.astype(float) ** 2)))


SENTENCES = [
    "您好。",
    "截至二零二六年十一月二十三日，您职工养老个人账户储存额五万八千二百一十四元三角六分。",
    "根据有关规定失业人员应当在终止或者解除劳动合同之日起六十日内到公共就业服务机构办理失业登记手续并申领待遇。",
    "一" * 300,
    "A" * 300,
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_chunks_lose_nothing_and_start_short(sentence: str) -> None:
    cut = list(chunks(sentence))
    assert "".join(cut) == sentence
    assert len(cut[0]) <= FIRST_SYLLABLES + SLACK
    assert max(map(len, cut)) <= LONGEST_SYLLABLES + SLACK


@needs_model
async def test_a_sentence_comes_in_chunks_without_clicks(kokoro: Kokoro) -> None:
    heard = await _hear(kokoro, BALANCE)
    assert len(heard) >= 3
    assert len(heard[0]) < 2.5 * RATE
    whole = np.concatenate(heard)
    assert 4 * RATE < len(whole) < 12 * RATE
    assert 500 < _loudness(whole) < 8000
    for pcm in heard:
        assert abs(int(pcm[0])) < 100
        assert abs(int(pcm[-1])) < 100
        assert np.abs(pcm.astype(int)).max() < 32767


@needs_model
async def test_padding_is_trimmed(kokoro: Kokoro) -> None:
    (hello,) = await _hear(kokoro, "您好。")
    assert 0.3 * RATE < len(hello) < 1.1 * RATE


@needs_model
async def test_slower_is_longer(kokoro: Kokoro) -> None:
    slow = np.concatenate(await _hear(kokoro, "请说出号码。", 0.7))
    fast = np.concatenate(await _hear(kokoro, "请说出号码。", 1.4))
    assert len(slow) > 1.4 * len(fast)


@needs_model
@pytest.mark.parametrize("text", ["", "😀", "\x00\x07", "。。。", "\u200b", "**"])
async def test_nothing_to_say_gives_nothing(kokoro: Kokoro, text: str) -> None:
    assert await _hear(kokoro, text) == []


@needs_model
@pytest.mark.parametrize("text", ["ab%$#@!c", "Привет", "ทดสอบ", "您好😀"])
async def test_odd_text_does_not_fail(kokoro: Kokoro, text: str) -> None:
    assert sum(map(len, await _hear(kokoro, text))) >= 0


@needs_model
def test_no_input_is_longer_than_the_model_takes(kokoro: Kokoro) -> None:
    inputs = list(kokoro._network.inputs("W" * 200))
    assert len(inputs) > 1
    assert all(0 < len(ids) <= LONGEST for ids in inputs)


@needs_model
async def test_all_eight_voices_differ(kokoro: Kokoro) -> None:
    voices = sorted(file.stem for file in models.find("kokoro-voices-zh").glob("*.bin"))
    assert len(voices) == 8
    heard = {name: await _hear(kokoro.with_voice(name), "是。") for name in voices}
    assert len({np.concatenate(pcm).tobytes() for pcm in heard.values()}) == 8


@needs_model
def test_an_unknown_voice_names_the_known_ones(kokoro: Kokoro) -> None:
    with pytest.raises(ConfigError, match="zf_xiaoxiao"):
        kokoro.with_voice("zf_nobody")


@needs_model
async def test_calls_take_turns(kokoro: Kokoro) -> None:
    """A long text does not keep another caller waiting until its end."""
    order: list[str] = []

    async def speak(who: str, text: str) -> None:
        async for _ in kokoro.speak(text):
            order.append(who)

    await asyncio.gather(speak("long", "请等。" * 4), speak("short", "您好。"))
    assert order.index("short") <= 2


@needs_model
async def test_an_interrupted_chunk_is_broken_off(
    kokoro: Kokoro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk in work does not run to its end; the next caller is served."""
    loop = asyncio.get_running_loop()
    started, ended = asyncio.Event(), []
    infer = Network.infer

    def watched(*args: Any) -> Any:
        loop.call_soon_threadsafe(started.set)
        try:
            audio = infer(*args)
        except SynthesisError:
            ended.append("broken off")
            raise
        ended.append("whole")
        return audio

    monkeypatch.setattr(Network, "infer", watched)
    task = asyncio.create_task(_hear(kokoro, "请您稍等" * 12 + "。"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await _hear(kokoro, "您好。")) == 1
    assert ended == ["broken off", "whole"]


@needs_model
def test_auto_prefers_kokoro_and_says_why() -> None:
    assert synthesizers.choose(Speech())[0] == "kokoro"
    engine, why = synthesizers.choose(Speech(synthesizer="pyttsx3"))
    assert engine == "pyttsx3"
    assert "speech.synthesizer" in why


async def test_without_the_model_pyttsx3_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTLINE_CACHE", str(tmp_path))
    loaded = synthesizers.load(Speech())
    assert [voice.name for voice in loaded.synthesizers] == ["pyttsx3"]
    assert "hotline models pull kokoro" in loaded.why
    with pytest.raises(models.ModelMissing):
        synthesizers.load(Speech(synthesizer="kokoro"))


@needs_model
def test_a_damaged_model_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto must not hide it behind another voice."""
    broken = tmp_path / "models" / "kokoro"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"not a network")
    monkeypatch.setenv("HOTLINE_CACHE", str(tmp_path))
    with pytest.raises(models.ModelCorrupt, match=r"model\.onnx: sha256 is"):
        synthesizers.load(Speech())


@needs_model
def test_say_writes_a_file_at_the_rate_asked(tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    assert main(["say", "您好，请讲。", "--out", str(out), "--rate", "8000"]) == 0
    pcm, rate = soundfile.read(out, dtype="int16")
    assert rate == 8000
    assert pcm.ndim == 1
    assert 0.5 * rate < len(pcm) < 4 * rate


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["😀", "--out", "{}/a.wav"], "nothing in this text"),
        (["您好", "--out", "{}/a.xyz"], "end its name in .wav"),
        (["您好", "--out", "{}/no/folder/a.wav"], "cannot be written"),
        (["您好", "--out", "{}/a.wav", "--rate", "1"], "4000 to 192000"),
    ],
)
def test_say_names_what_is_wrong(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ["--engine", "pyttsx3"]
    assert main(["say", *engine, *[word.format(tmp_path) for word in arguments]]) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_say_takes_ten_thousand_characters(tmp_path: Path) -> None:
    out = tmp_path / "long.wav"
    text = "😀" * 9_980 + "您好，余额是200元。"
    assert main(["say", text, "--engine", "pyttsx3", "--out", str(out)]) == 0
    assert soundfile.info(out).duration > 1
