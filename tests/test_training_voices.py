"""Guards the accents Whisper learns from: each makes one syllable sound like another."""

import pytest
from misaki.zh import ZHG2P
from voices import ACCENTS, accented

HEARD_AS = [
    ("flat", "诗", "丝"),
    ("flat", "找", "早"),
    ("front", "英", "音"),
    ("front", "翁", "温"),
    ("nl", "南", "蓝"),
    ("ln", "蓝", "南"),
    ("hf", "湖", "福"),
    ("tones", "麻", "马"),
]


@pytest.fixture(scope="module")
def phonemes() -> ZHG2P:
    return ZHG2P()


@pytest.mark.parametrize(("habit", "said", "heard"), HEARD_AS)
def test_an_accent_turns_one_syllable_into_another(
    phonemes: ZHG2P, habit: str, said: str, heard: str
) -> None:
    assert accented(phonemes(said)[0], [habit]) == phonemes(heard)[0]


def test_every_accent_is_tried_here() -> None:
    assert {habit for habit, *_ in HEARD_AS} == set(ACCENTS)


def test_without_an_accent_all_stays_as_it_is(phonemes: ZHG2P) -> None:
    (said, _) = phonemes("我是湖南人，能领牛肉")
    assert accented(said, []) == said
