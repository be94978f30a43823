"""Guards which engine listens and that the reason is said; a missing or broken model is one line
that names it and the remedy."""

from pathlib import Path

import pytest

from assistant import models
from assistant.models import ModelError, ModelMissing
from assistant.settings import Speech
from assistant.speech import recognizers
from assistant.speech.recognizers import Choice


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOTLINE_CACHE", str(tmp_path))
    return tmp_path


def put(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(models, "present", lambda name: name in names)
    monkeypatch.setattr(models, "find", models.folder)


def test_auto_prefers_vosk_where_its_mandarin_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "whisper-base", "vosk-model-small-cn-0.22")
    choice = recognizers.choose(Speech())
    assert choice.engine == "vosk"
    assert "vosk-model-small-cn-0.22 is present" in choice.why
    assert [c.engine for c in recognizers.available()] == ["vosk", "whisper"]


def test_auto_takes_whisper_and_says_that_vosk_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "whisper-base")
    choice = recognizers.choose(Speech())
    assert choice.engine == "whisper"
    assert "no Mandarin Vosk model" in choice.why


def test_what_is_configured_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "whisper-base", "vosk-model-small-cn-0.22")
    assert recognizers.choose(Speech(recognizer="whisper")).engine == "whisper"


@pytest.mark.parametrize("recognizer", ["auto", "vosk", "whisper"])
def test_nothing_there_is_named_with_the_remedy(cache: Path, recognizer: str) -> None:
    with pytest.raises(ModelMissing, match="hotline models pull"):
        recognizers.choose(Speech.model_validate({"recognizer": recognizer}))


@pytest.mark.parametrize("engine", ["vosk", "whisper"])
def test_a_folder_that_is_no_model_is_an_error_of_the_model(tmp_path: Path, engine: str) -> None:
    with pytest.raises(ModelError, match=f"{engine}.*{tmp_path.name}"):
        recognizers.open_engine(Choice(engine, tmp_path, ""), Speech())
