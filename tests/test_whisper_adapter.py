"""Guards what Whisper has learned: added where it belongs, heard, and refused for another model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from assistant import models
from assistant.settings import ROOT
from assistant.speech.whisper import WhisperRecognizer
from assistant.speech.whisper_adapter import ADAPTER, DOWN, UP, adapt
from assistant.speech.whisper_graph import Weights, read_weights

NAME = "encoder/layer_0/ffn/linear_0/weight"


def stored(file: Path, up: tuple[int, int], down: tuple[int, int], name: str = NAME) -> Path:
    """An adapter of ones for one matrix."""
    parts: dict[str, Any] = {name + UP: np.ones(up), name + DOWN: np.ones(down)}
    np.savez(file, **parts)
    return file


def test_what_is_added_is_the_product_of_both_parts(tmp_path: Path) -> None:
    weights: Weights = {NAME: np.ones((4, 3), np.float16), "other": np.ones((4, 3), np.float16)}
    adapt(weights, stored(tmp_path / "a.npz", (4, 2), (2, 3)))
    assert weights[NAME].dtype == np.float16
    assert (weights[NAME] == 3).all()
    assert (weights["other"] == 1).all()


@pytest.mark.parametrize(
    ("up", "down", "name"),
    [((5, 2), (2, 3), NAME), ((4, 2), (3, 3), NAME), ((4, 2), (2, 3), "encoder/layer_9/x")],
)
def test_an_adapter_of_another_model_is_refused(
    tmp_path: Path, up: tuple[int, int], down: tuple[int, int], name: str
) -> None:
    weights: Weights = {NAME: np.ones((4, 3), np.float16)}
    with pytest.raises(RuntimeError, match=r"a\.npz is damaged or another model's"):
        adapt(weights, stored(tmp_path / "a.npz", up, down, name))
    assert (weights[NAME] == 1).all()


def test_a_damaged_adapter_is_refused(tmp_path: Path) -> None:
    whole = ADAPTER.read_bytes()
    for keep in (0, 100, len(whole) // 2):
        (tmp_path / "a.npz").write_bytes(whole[:keep])
        with pytest.raises(RuntimeError, match="damaged"):
            adapt({}, tmp_path / "a.npz")
    with pytest.raises(RuntimeError, match="damaged"):
        adapt({}, tmp_path / "missing.npz")


@pytest.mark.skipif(not models.present("whisper-base"), reason="needs `hotline models pull`")
def test_it_corrects_every_layer_of_the_model_a_little() -> None:
    model = (models.find("whisper-base") / "model.bin").read_bytes()
    before, after = (read_weights(bytearray(model), "model.bin") for _ in range(2))
    adapt(after, ADAPTER)
    for half in ("encoder", "decoder"):
        for layer in range(6):
            name = f"{half}/layer_{layer}/ffn/linear_0/weight"
            old, new = before[name].astype(np.float32), after[name].astype(np.float32)
            assert 0 < np.linalg.norm(new - old) < 0.5 * np.linalg.norm(old)


@pytest.mark.skipif(
    not (models.present("whisper-base") and models.present("silero-vad")),
    reason="needs `hotline models pull`",
)
def test_both_halves_of_the_model_hear_with_it() -> None:
    """The encoder is CTranslate2's and the decoder our own: neither may be left as it came."""
    pcm, rate = soundfile.read(ROOT / "audio" / "callers" / "03.wav", dtype="int16")
    features = np.zeros((1, 80, 400), np.float32)
    encoded, scores = [], []
    for adapter in (None, ADAPTER):
        whisper = WhisperRecognizer(models.find("whisper-base"), 2, adapter=adapter)
        encoded.append(whisper._encoded(features))
        prompt = whisper._prompts["free"]
        (best, *_) = whisper._search(encoded[0], prompt, 3, 2)
        scores.append(best.log_probability)
        stream = whisper.open(rate)
        stream.accept(pcm)
        assert "提前" in stream.finish().text
    assert np.abs(encoded[0] - encoded[1]).max() > 0.1
    assert abs(scores[0] - scores[1]) > 0.01
