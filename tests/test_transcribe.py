"""Guards `hotline transcribe`: one JSON object a file, any format and length, and a file that
cannot be read is named without stopping the others."""

import argparse
import json
import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant import models
from assistant.commands import transcribe
from assistant.settings import CONFIG_FILE, ROOT
from assistant.speech.resample import resample

pytestmark = pytest.mark.skipif(
    not (models.present("whisper-base") and models.present("silero-vad")),
    reason="needs `hotline models pull`",
)

CALLER = ROOT / "audio" / "callers" / "03.wav"
KEYS = {"file", "engine", "text", "confidence", "alternatives", "audio_s", "compute_s"}


def run(*arguments: str | Path) -> int:
    top = argparse.ArgumentParser()
    transcribe.register(top.add_subparsers())
    args = top.parse_args(["transcribe", *map(str, arguments)])
    args.config, args.overrides = CONFIG_FILE, []
    return transcribe.run(args)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_stereo_at_48_khz_is_mixed_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pcm, rate = soundfile.read(CALLER, dtype="int16")
    wide = resample(pcm, rate, 48000)
    stereo = tmp_path / "stereo.flac"
    soundfile.write(stereo, np.stack([wide, np.zeros_like(wide)], axis=1), 48000)
    assert run(stereo, "--engine", "whisper") == 0
    (line,) = lines(capsys)
    assert set(line) == KEYS
    assert "提前" in str(line["text"])
    assert line["audio_s"] == pytest.approx(len(pcm) / rate, abs=0.01)


def test_bad_files_are_named_and_the_others_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    empty, one = tmp_path / "empty.wav", tmp_path / "one.wav"
    soundfile.write(empty, np.zeros(0, np.int16), 8000)
    soundfile.write(one, np.zeros(1, np.int16), 8000)
    assert run(text, tmp_path / "absent.wav", tmp_path, empty, one, CALLER) == 1
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [set(line) for line in found[:3]] == [{"file", "error"}] * 3
    assert captured.err.count("not audio that can be read") == 3
    assert [line["text"] for line in found[3:5]] == ["", ""]
    assert found[5]["text"]


def test_a_wrong_engine_or_expectation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--engine", "magic"], ["--expect", "poetry"]):
        with pytest.raises(SystemExit):
            run(CALLER, *wrong)


def test_forty_minutes_take_no_more_memory_than_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pcm, rate = soundfile.read(CALLER, dtype="int16")
    silence = np.zeros(60 * rate, np.int16)
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    soundfile.write(short, np.concatenate([silence, pcm]), rate)
    with soundfile.SoundFile(long, "w", rate, 1) as file:
        for _ in range(40):
            file.write(silence)
        file.write(pcm)
    run(short)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run(long) == 0
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 40, "the whole file, 77 MB at 16 kHz, seems to be kept"
    assert all("提前" in str(line["text"]) for line in lines(capsys))
