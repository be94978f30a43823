"""Guards what turn taking and recognition stand on: rates change without clicks, voice is found
in the telephone band, and a long recording is cut at its pauses, nothing lost."""

import csv

import numpy as np
import pytest
import soundfile

from assistant.channels.channel import Pcm
from assistant.settings import ROOT
from assistant.speech.pieces import LONGEST_S, SPEECH, Pieces
from assistant.speech.resample import Resampler, resample
from assistant.speech.vad import CHUNK_MS, RATE, Vad

CALLERS = ROOT / "audio" / "callers"


def recorded(name: str) -> tuple[Pcm, int]:
    pcm, rate = soundfile.read(CALLERS / name, dtype="int16")
    return pcm, rate


def tone(rate: int, seconds: float, hz: float = 440.0) -> Pcm:
    return (10000 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


@pytest.mark.parametrize("target", [8000, 16000, 24000])
def test_resampling_in_20_ms_frames_equals_resampling_at_once(target: int) -> None:
    pcm = tone(8000, 1.0)
    resampler = Resampler(8000, target)
    frames = [resampler.accept(pcm[i : i + 160]) for i in range(0, len(pcm), 160)]
    streamed = np.concatenate([*frames, resampler.finish()])
    at_once = resample(pcm, 8000, target)
    assert len(streamed) == len(at_once) == target
    assert np.abs(streamed.astype(int) - at_once.astype(int)).max() <= 2


@pytest.mark.parametrize("samples", [0, 1])
def test_next_to_nothing_can_be_resampled(samples: int) -> None:
    assert len(resample(np.zeros(samples, np.int16), 8000, 16000)) <= 2


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_decision_comes_for_every_32_ms_at_any_rate_and_framing(rate: int) -> None:
    vad = Vad(rate)
    decisions = [p for _ in range(100) for p in vad.accept(np.zeros(rate // 50, np.int16))]
    assert len(decisions) == pytest.approx(2000 / CHUNK_MS, abs=2)
    assert max(decisions) < SPEECH


def test_every_recorded_voice_is_found_between_its_silences() -> None:
    with (CALLERS.parent / "callers.tsv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    for line in lines[::5]:
        pcm, rate = recorded(line["file"])
        speech = [p >= SPEECH for p in Vad(rate).accept(pcm)]
        middle = speech[len(speech) // 4 : -len(speech) // 4]
        assert sum(middle) > len(middle) * 0.6, line
        if line["snr"] == "clean":
            assert not any(speech[:8]), line


def test_tones_and_noise_are_not_voice() -> None:
    noise = (np.random.default_rng(1).standard_normal(16000) * 800).astype(np.int16)
    for sound in (tone(8000, 2.0), noise):
        assert np.mean([p >= SPEECH for p in Vad(8000).accept(sound)]) < 0.1


def test_long_speech_is_cut_at_a_pause_and_nothing_is_lost() -> None:
    utterances = [resample(*recorded(f"{n:02d}.wav"), RATE) for n in (1, 3, 5, 7, 9, 10, 12)]
    pcm = np.concatenate(utterances * 2)
    pieces = Pieces()
    found = [*pieces.accept(pcm), pieces.finish()]
    assert len(found) >= 2
    assert np.array_equal(np.concatenate([piece.pcm for piece in found]), pcm)
    assert all(len(piece.pcm) <= (LONGEST_S + 1) * RATE for piece in found)
    for piece in found[:-1]:
        assert max(piece.speech[-3:]) < SPEECH, "cut within a word"


def test_silence_has_no_voice_to_keep() -> None:
    pieces = Pieces()
    assert not list(pieces.accept(np.zeros(RATE, np.int16)))
    piece = pieces.finish()
    assert piece.voiced_s == 0
    assert len(piece.trimmed()) == 0
