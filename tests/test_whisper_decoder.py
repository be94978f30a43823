"""Guards the decoder of our own: its vocabulary, its reader of weights, its limit on length."""

import numpy as np
import pytest
import tokenizers

from assistant import models
from assistant.speech.chinese import normalise
from assistant.speech.whisper import PROMPTS, WhisperRecognizer
from assistant.speech.whisper_decoder import BeamSearch
from assistant.speech.whisper_graph import read_weights
from assistant.speech.whisper_vocabulary import vocabulary

pytestmark = pytest.mark.skipif(
    not models.present("whisper-base"), reason="needs `hotline models pull`"
)


@pytest.fixture(scope="module")
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(models.find("whisper-base") / "tokenizer.json"))


@pytest.mark.parametrize("text", [*PROMPTS.values(), "工伤认定申请表要盖公章吗", "A4纸，440103。"])
def test_all_that_callers_say_can_be_written(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    kept, silent = vocabulary(tokenizer, [], [])
    assert set(tokenizer.encode(normalise(text), add_special_tokens=False).ids) <= set(
        kept.tolist()
    )
    assert not silent.any()


@pytest.mark.parametrize("text", ["現在", "hello", "こんにちは", "привет"])
def test_other_scripts_and_languages_cannot(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    kept, _ = vocabulary(tokenizer, [], [])
    assert not set(tokenizer.encode(text, add_special_tokens=False).ids) <= set(kept.tolist())


def test_what_is_only_told_is_never_said(tokenizer: tokenizers.Tokenizer) -> None:
    mark = tokenizer.token_to_id("<|zh|>")
    assert mark is not None
    kept, silent = vocabulary(tokenizer, [mark], [])
    assert silent[kept.tolist().index(mark)] == -np.inf


def test_a_search_ends_at_its_limit() -> None:
    whisper = WhisperRecognizer(models.find("whisper-base"), 1)
    noise = np.random.default_rng(1).standard_normal((1, 60, 512)).astype(np.float32)
    prompt = whisper._prompts["free"]
    found = whisper._search(noise, prompt, 4, 3)
    assert 1 <= len(found) <= 3
    assert all(len(each.tokens) <= 5 for each in found)
    certainties = [each.certainty for each in found]
    assert certainties == sorted(certainties, reverse=True)


def test_a_search_that_nobody_waits_for_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BeamSearch, "_decided", lambda *_: False)  # noise is soon decided
    whisper = WhisperRecognizer(models.find("whisper-base"), 1)
    noise = np.random.default_rng(1).standard_normal((1, 60, 512)).astype(np.float32)
    steps = 0

    def abandoned() -> bool:
        nonlocal steps
        steps += 1
        return steps == 3

    whisper._search(noise, whisper._prompts["free"], 40, 3, abandoned)
    assert steps == 3


def test_an_utterance_that_nobody_waits_for_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whisper = WhisperRecognizer(models.find("whisper-base"), 1)
    monkeypatch.delattr(whisper, "_model")  # encoding would fail
    stream = whisper.open(8000)
    stream.accept(np.tile(np.array([3000, -3000], np.int16), 8000))
    stream.abandon()
    assert stream.finish().text == ""


@pytest.mark.parametrize("keep", [0, 3, 40, 100_000])
def test_a_damaged_model_is_told_of(keep: int) -> None:
    whole = (models.find("whisper-base") / "model.bin").read_bytes()
    with pytest.raises(RuntimeError, match=r"model.bin is damaged"):
        read_weights(whole[:keep], "model.bin")


def test_another_model_is_told_of() -> None:
    with pytest.raises(RuntimeError, match="not Whisper"):
        read_weights(b"\x06\x00\x00\x00\x05\x00Bert\x00" + b"\x00" * 64, "model.bin")
