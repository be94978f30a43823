"""Guards the Vosk adapter, held to a real Vosk model (the small Korean one, speech by eSpeak NG):
words before the end, n-best, grammar by question, 8 kHz, and what a static graph means."""

import io
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant import models
from assistant.channels.channel import Pcm
from assistant.speech.recognizer import Expecting, Partial, Transcript
from assistant.speech.resample import resample
from assistant.speech.vosk import GRAMMARS, VoskError, VoskRecognizer, _combine, _normalised

KOREAN: dict[Expecting, list[str]] = {
    "yes_no": ["네", "아니요"],
    "digits": list("영일이삼사오육칠팔구"),
}

pytestmark = pytest.mark.skipif(
    not models.present("vosk-model-small-ko") or shutil.which("espeak-ng") is None,
    reason="needs `hotline models pull vosk-model-small-ko` and espeak-ng",
)


@pytest.fixture(scope="module")
def korean() -> VoskRecognizer:
    return VoskRecognizer(models.find("vosk-model-small-ko"), KOREAN)


def spoken(text: str, rate: int) -> Pcm:
    command = ["espeak-ng", "-v", "ko", "-s", "130", "--stdout", text]
    wav = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    pcm, own_rate = soundfile.read(io.BytesIO(wav), dtype="int16")
    return resample(pcm, own_rate, rate)


def heard(
    recognizer: VoskRecognizer, pcm: Pcm, rate: int, expecting: Expecting = "free"
) -> tuple[list[Partial | None], Transcript]:
    stream = recognizer.open(rate, expecting)
    frame = rate // 50
    partials = [stream.accept(pcm[i : i + frame]) for i in range(0, len(pcm), frame)]
    return partials, stream.finish()


def test_partials_arrive_before_the_end_and_the_final_has_alternatives(
    korean: VoskRecognizer,
) -> None:
    partials, transcript = heard(korean, spoken("안녕하세요 오늘 날씨가 좋습니다", 16000), 16000)
    assert any(partials[: len(partials) // 2])
    assert len(transcript.alternatives) > 1
    assert transcript.alternatives[0].text == transcript.text
    confidences = [alternative.confidence for alternative in transcript.alternatives]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 < confidence <= 1 for confidence in confidences)
    assert "[unk]" not in transcript.text


@pytest.mark.parametrize("rate", [8000, 16000])
def test_grammar_narrows_to_what_is_awaited(korean: VoskRecognizer, rate: int) -> None:
    _, transcript = heard(korean, spoken("아니요", rate), rate, "yes_no")
    assert transcript.text == "아니요"
    _, free = heard(korean, spoken("아니요", rate), rate)
    assert free.text != "아니요", "the grammar makes no difference"


def test_digits_at_telephone_rate(korean: VoskRecognizer) -> None:
    _, transcript = heard(korean, spoken("일 이 삼 사 오", 8000), 8000, "digits")
    assert "삼 사 오" in transcript.text
    assert set(transcript.text) <= set("영일이삼사오육칠팔구 ")


@pytest.mark.parametrize("samples", [0, 1, 160])
def test_next_to_no_audio_is_an_empty_transcript(korean: VoskRecognizer, samples: int) -> None:
    _, transcript = heard(korean, np.zeros(samples, np.int16), 8000)
    assert transcript == Transcript("")


def test_the_way_questions_are_heard_is_said_at_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    VoskRecognizer(models.find("vosk-model-small-ko"), KOREAN)
    assert "grammar by question" in caplog.text


def test_words_the_model_does_not_know_are_left_out_of_its_grammar(
    korean: VoskRecognizer,
) -> None:
    mandarin = VoskRecognizer(models.find("vosk-model-small-ko"), {"yes_no": GRAMMARS["yes_no"]})
    assert not mandarin._words("是的")
    assert korean._words("아니요") == ["아니요"]


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(VoskError, match=tmp_path.name):
        VoskRecognizer(tmp_path)


def test_scores_become_shares_and_spaces_go() -> None:
    raw: list[dict[str, float | str]] = [
        {"text": "养 老 金", "confidence": 210.0},
        {"text": "养老 金", "confidence": 210.0},
        {"text": "养 老 经", "confidence": 209.0},
        {"text": "[unk]", "confidence": 205.0},
    ]
    first, second = _normalised(raw)
    assert (first.text, second.text) == ("养老金", "养老经")
    assert first.confidence > second.confidence
    assert first.confidence + second.confidence <= 1


def test_segments_of_one_turn_are_joined_best_first() -> None:
    one = _normalised([{"text": "四 四", "confidence": 2.0}, {"text": "四 十", "confidence": 1.0}])
    two = _normalised([{"text": "零 一", "confidence": 3.0}, {"text": "零 七", "confidence": 1.0}])
    joined = _combine([one, two])
    assert [alternative.text for alternative in joined][:2] == ["四四零一", "四十零一"]
    assert _combine([]) == ()


def test_it_loads_in_a_process_that_speaks() -> None:
    """Libraries that carry another OpenFst (wetext, kaldifst) keep libvosk from loading."""
    code = "import assistant.speech.spoken, assistant.speech.vosk"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
