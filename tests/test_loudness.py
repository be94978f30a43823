"""Guards a louder voice: as loud as asked for, never clipped, and no click between chunks."""

import numpy as np
import pytest
import soundfile

from assistant.channels.channel import Pcm
from assistant.loudness import MOST_DB, amplified
from assistant.settings import ROOT

NOMINAL_DB = -26.0
"""The usual level of speech on a telephone line, beside full scale."""

LOUD_DB = -20.0
"""As loud as a call ever is; what is louder by itself gains less."""


def _speech(level_db: float) -> Pcm:
    """Real speech at this level."""
    pcm, _ = soundfile.read(ROOT / "audio/demo/1.wav", dtype="float64")
    pcm *= 10 ** ((level_db - 20 * np.log10(np.sqrt(np.mean(pcm**2)))) / 20)
    return np.asarray(np.rint(np.clip(pcm, -1, 1) * 32767), np.int16)


def _db(pcm: Pcm) -> float:
    return float(10 * np.log10(np.mean(pcm.astype(np.float64) ** 2)))


@pytest.mark.parametrize(
    ("level_db", "asked_db", "least_db"),
    [(NOMINAL_DB, 6, 5.5), (NOMINAL_DB, 12, 11), (LOUD_DB, 6, 5.5), (LOUD_DB, 12, 10)],
)
def test_speech_is_louder_by_about_as_much_as_asked_for(
    level_db: float, asked_db: float, least_db: float
) -> None:
    speech = _speech(level_db)
    assert least_db <= _db(amplified(speech, asked_db)) - _db(speech) <= asked_db + 0.1


@pytest.mark.parametrize("db", [-6, -12])
def test_speech_is_softer_by_exactly_as_much(db: float) -> None:
    speech = _speech(NOMINAL_DB)
    assert _db(amplified(speech, db)) - _db(speech) == pytest.approx(db, abs=0.1)


@pytest.mark.parametrize("db", [6, 12, 99])
def test_nothing_is_clipped(db: float) -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    louder = amplified(every, db).astype(np.int32)
    assert np.abs(louder).max() < 32767
    assert (np.diff(louder) >= 0).all(), "bent, not folded"
    assert np.array_equal(louder, amplified(every, min(db, MOST_DB)))


def test_the_usual_level_is_left_alone() -> None:
    speech = _speech(NOMINAL_DB)
    assert np.array_equal(amplified(speech, 0), speech)


@pytest.mark.parametrize("db", [-12, 6, 12])
def test_no_border_between_chunks_is_heard(db: float) -> None:
    speech = _speech(LOUD_DB)
    pieces = [amplified(each, db) for each in np.array_split(speech, 97)]
    assert np.array_equal(np.concatenate(pieces), amplified(speech, db))
