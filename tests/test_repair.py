"""Guards the repair of homophones: it mends what sounds right, leaves right text alone, and never
touches a digit; and the normaliser and the error rates that all of this is measured with."""

import csv
import re
from pathlib import Path

import pytest

from assistant.settings import ROOT
from assistant.speech import language_model, repair
from assistant.speech.chinese import normalise
from assistant.speech.error_rate import character_error_rate, characters, syllable_error_rate
from assistant.speech.language_model import LanguageModel
from assistant.speech.repair import Repair, change_cost
from assistant.speech.sounds import APART, DIFFERENT, NEAR, distance


def caller_texts() -> list[str]:
    with (ROOT / "audio" / "callers.tsv").open(encoding="utf-8", newline="") as file:
        return [line["text"] for line in csv.DictReader(file, delimiter="\t")]


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ("工商认定要多久", "工伤认定要多久"),
        ("我要看缴费记路", "我要看缴费记录"),
        ("推休手续怎么办", "退休手续怎么办"),
        ("社保卡要挂事", "社保卡要挂失"),
        ("事业金怎么领", "失业金怎么领"),
        ("养老金自格认证", "养老金资格认证"),
    ],
)
def test_homophones_are_mended(heard: str, said: str) -> None:
    assert repair.load()(heard).text == said


def test_what_was_heard_with_confidence_is_changed_less_easily() -> None:
    costs = [change_cost(confidence) for confidence in (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)]
    assert costs == sorted(set(costs))
    mend = repair.load()
    assert mend("为价五口人", change_cost(0.5)).text != "为价五口人"
    assert mend("为价五口人", 50.0).text == "为价五口人"


def test_an_earlier_hypothesis_changes_nothing_of_a_later_one() -> None:
    model = LanguageModel(["工伤认定要多久", "工伤保险"])
    used = Repair(model)
    for text in ("工商认", "工商认定要", "工商保险", "工商认定要多久"):
        assert used(text) == Repair(model)(text)


def test_right_text_is_left_alone() -> None:
    texts = [normalise(text) for text in caller_texts()]
    changed = [text for text in texts if repair.load()(text).text != text]
    assert len(changed) <= 2, changed


@pytest.mark.parametrize(
    "text",
    [
        "440103196305129977",
        "四四零一零三一九六三零五一二九九七七",
        "密码135790",
        "幺三五七九零",
        "三万二千五百",
    ],
)
def test_digits_are_never_changed(text: str) -> None:
    assert repair.load()(text).text == text


def test_no_numeral_but_one_is_ever_put_in() -> None:
    for text in ("是吧", "死死零依", "把事情说清楚", "饿久其吧"):
        new = set(repair.load()(text).text) - set(text)
        assert not new & (repair.NUMERALS - {"一"}), text


@pytest.mark.parametrize("text", ["", "ok", "😀", "A1 b", "\x00\x07"])
def test_what_is_not_chinese_passes(text: str) -> None:
    assert repair.load()(text).text == text


def test_a_word_added_by_the_operator_wins_over_its_homophone() -> None:
    plain = Repair(LanguageModel(["我要去窗口"]))
    taught = Repair(LanguageModel(["我要去窗口", "贾家庄街道", "去贾家庄街道办事处"]))
    assert plain("去假家庄").text == "去假家庄"
    assert taught("去假家庄街道").text == "去贾家庄街道"


def test_the_language_model_is_a_probability() -> None:
    model = LanguageModel(["退休金", "退休年龄"])
    assert model.score("退", "休") > model.score("退", "金")
    assert model.score("龄年", "休") < 0


def test_phrases_come_from_every_kind_of_file_and_absence_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "vocabulary.txt").write_text("你好，养老金123\nabc\n", encoding="utf-8")
    assert language_model.phrases(tmp_path) == ["你好", "养老金123"]
    assert language_model.phrases(tmp_path / "nowhere") == []


def test_no_test_sentence_is_in_what_the_repair_learned_from() -> None:
    files = [file for pattern in language_model.SOURCES for file in ROOT.glob(pattern)]
    learned = re.sub(r"[^\w]", " ", " ".join(file.read_text(encoding="utf-8") for file in files))
    learned_lines = set(learned.split())
    spoken = [text for text in map(normalise, caller_texts()) if len(text) > 8]
    assert not [text for text in spoken if text in learned_lines]


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("shi", "shi", 0.0),
        ("shi", "si", NEAR),
        ("ling", "lin", NEAR),
        ("tui", "dui", APART),
        ("shang", "ke", DIFFERENT),
    ],
)
def test_distance_in_sound(one: str, other: str, apart: float) -> None:
    assert distance(one, other) == distance(other, one) == apart


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("養老 保險 繳滿 十 五 年", "养老保险缴满十五年"),
        ("440103-196305-129977。", "440103196305129977"),
        ("４４０，养老金３.５％，对吗？", "440养老金3.5%对吗"),
        ("ok good 你好", "ok good你好"),
        ("二〇二六年 12:30", "二〇二六年12:30"),
        ("……！", ""),
    ],
)
def test_recognised_text_has_one_form(raw: str, text: str) -> None:
    assert normalise(raw) == text
    assert normalise(text) == text


def test_error_rates_see_the_sound_and_the_number() -> None:
    assert characters("一九六三年") == characters("1963年")
    assert characters("五十八岁，两千五百元") == characters("58岁2500元")
    assert character_error_rate([("工伤认定", "工商认定")]) == 0.25
    assert syllable_error_rate([("工伤认定", "工商认定")]) == 0
    assert character_error_rate([("退休", "")]) == 1
