"""Guards numbers: what may be written for them, and that a number said in groups is heard whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant import models
from assistant.speech.recognizer import Expecting, Transcript
from assistant.speech.whisper import WhisperRecognizer
from assistant.speech.whisper_digits import SPELLINGS, DigitGrammar

TEXTS = sorted({text for texts in SPELLINGS.values() for text in texts})
LETTERS = sorted({letter for text in TEXTS for letter in text})
END = len(LETTERS)
DATA = Path(__file__).parent / "data"


def spell(text: str) -> Sequence[int]:
    return [LETTERS.index(letter) for letter in text]


@pytest.fixture
def grammar() -> DigitGrammar:
    return DigitGrammar(spell, END + 1, END, longest=3)


def following(grammar: DigitGrammar, text: str) -> str:
    places = np.flatnonzero(grammar.allowed(spell(text)) == 0.0)
    return "".join("$" if place == END else LETTERS[place] for place in places)


FIRST = "".join(sorted({text[0] for text in TEXTS}))


@pytest.mark.parametrize(
    ("text", "may_follow"),
    [
        ("", FIRST),  # at least one digit
        ("四四", FIRST + "$"),
        ("四四零", "$"),  # the longest
        ("四艾", "克"),  # inside 艾克斯
        ("四艾克", "斯"),
        ("四艾克斯", FIRST + "$"),
    ],
)
def test_what_may_follow(grammar: DigitGrammar, text: str, may_follow: str) -> None:
    assert sorted(following(grammar, text)) == sorted(may_follow)


@pytest.mark.parametrize(
    ("text", "digits"),
    [("幺二", "一二"), ("要两洞", "一二零"), ("四艾克斯", "四X"), ("四艾克", "四"), ("", "")],
)
def test_how_it_is_read(grammar: DigitGrammar, text: str, digits: str) -> None:
    assert grammar.read(spell(text)) == digits


def test_a_spelling_that_the_vocabulary_has_not_got_is_left_out() -> None:
    def poor(text: str) -> Sequence[int]:
        return [] if len(text) > 1 else spell(text)

    grammar = DigitGrammar(poor, END + 1, END, longest=3)
    assert "艾" not in following(grammar, "四")


@pytest.fixture(scope="module")
def whisper() -> WhisperRecognizer:
    if not models.present("whisper-base"):
        pytest.skip("needs `hotline models pull`")
    return WhisperRecognizer(models.find("whisper-base"))


def heard(whisper: WhisperRecognizer, file: Path, expecting: Expecting) -> Transcript:
    pcm, rate = soundfile.read(file, dtype="int16")
    stream = whisper.open(rate, expecting)
    stream.accept(pcm)
    return stream.finish()


def test_an_id_number_in_groups_is_heard_whole(whisper: WhisperRecognizer) -> None:
    found = heard(whisper, DATA / "id_number_in_groups.wav", "id_number")
    assert found.text == "四四零四八九一九六七零二一四六五六六"
    sure = [each.confidence for each in found.alternatives]
    assert sure == sorted(sure, reverse=True)


def test_where_a_number_is_awaited_words_are_heard_as_well(whisper: WhisperRecognizer) -> None:
    callers = Path(__file__).parent.parent / "audio" / "callers"
    assert "领" in heard(whisper, callers / "12.wav", "id_number").text
