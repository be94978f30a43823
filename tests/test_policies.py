"""Guards the policy cards: a policy editor changes YAML only, and a mistake is named precisely."""

import datetime
from pathlib import Path

import pytest
import yaml

from assistant import cli
from assistant.call import FILLER
from assistant.dialogue import policies, training
from assistant.dialogue.policies import Card
from assistant.dialogue.serving import RASA_PROJECT
from assistant.settings import ConfigError, Settings
from assistant.setup import fixed_sentences

SAYS = "\n".join(f"    - 第{n}种问法" for n in "一二三四五六七八九十甲乙")

HEAD = "topic: 养老\ncards:\n"

CARD = f"""\
- id: pension_age
  title: 多大年纪退休
  subject: 退休年龄
  says:
{SAYS}
  answer: 男职工逐步推到63岁。
  more: 每四个月推迟一个月。
  basis: 国务院的办法第1条
  certain: true
  checked: 2026-11-23
"""


def _load(folder: Path, text: str) -> list[Card]:
    (folder / "pension.yaml").write_text(text, encoding="utf-8")
    return policies.load(folder)


def test_the_cards_of_the_project() -> None:
    cards = policies.load()
    assert len(cards) >= 220
    assert not [problem for problem in policies.check() if problem.serious]
    assert {card.calculator for card in cards} >= {
        *("retirement", "minimum_years", "pension", "unemployment", "injury", "flexible")
    }


def test_a_well_formed_card(tmp_path: Path) -> None:
    [card] = _load(tmp_path, HEAD + CARD)
    assert card.intent == "policy/pension_age"
    assert policies.check(tmp_path, datetime.date(2026, 11, 24)) == []


def _load_further(folder: Path, text: str) -> list[Card]:
    (folder / "phrasings").mkdir()
    (folder / "phrasings" / "pension.yaml").write_text(text, encoding="utf-8")
    return _load(folder, HEAD + CARD)


def test_further_phrasings_of_a_card(tmp_path: Path) -> None:
    [card] = _load_further(tmp_path, "pension_age:\n  - 我哪年能退\n  - 六五年的几时退\n")
    assert card.says[-3:] == ["第乙种问法", "我哪年能退", "六五年的几时退"]
    assert "- 六五年的几时退\n" in policies.training_data([card])["nlu"][0]["examples"]


@pytest.mark.parametrize(
    ("further", "line", "told"),
    [
        ("pension_age:\n  - 我哪年能退\npension_ago:\n  - 几时退\n", 4, "no card pension_ago"),
        ("pension_age:\n  - 第甲种问法\n", 2, "question 第甲种问法 is already at"),
        ("pension_age:\n  - 几时退\n  - 几时退\n", 3, "question 几时退 is already at"),
        ("pension_age:\n  - 几时退（女）\n", 2, "cannot be spoken"),
        ("pension_age:\n  - 几时退\n  -\n", 3, "write what a caller says"),
        ("pension_age:\n  - 几时退:\n    - 早点\n", 2, "write what a caller says"),
        ("pension_age: 几时退\n", 1, "write each phrasing in a line"),
        ("- 几时退\n", 1, "begin with a card's id"),
        ("", 1, "begin with a card's id"),
        ("pension_age: [几时退\n", 2, "not valid YAML"),
    ],
)
def test_mistakes_in_further_phrasings_are_named(
    tmp_path: Path, further: str, line: int, told: str
) -> None:
    with pytest.raises(ConfigError, match=rf"phrasings/pension\.yaml:{line}: .*{told}"):
        _load_further(tmp_path, further)


@pytest.mark.parametrize(
    ("broken", "line", "told"),
    [
        (CARD.replace("  answer:", "  anwser:"), 3, "answer: missing; add it"),
        (CARD + "  colour: red\n", 24, "colour: unknown; a card has id, title, subject"),
        (CARD.replace("    - 第一种问法\n", ""), 7, "says: write at least 12 ways"),
        (CARD.replace("第1条", "第[1]条"), 21, "basis: [ ] cannot be spoken"),
        (CARD.replace("63岁", "≥63岁"), 19, "answer: ≥ cannot be spoken"),
        (CARD.replace("63岁", "6％"), 19, "answer: ％ cannot be spoken"),
        (CARD.replace("逐步推", "→"), 19, "answer: → cannot be spoken"),
        (CARD.replace("推到63岁", "推" * 61), 19, "answer: a sentence of"),
        (CARD.replace("63岁。", "63岁"), 19, "answer: ends without"),
        (CARD.replace("2026-11-23", "soon"), 23, "checked: "),
        (CARD.replace("id: pension_age", "id: 退休"), 3, "id: "),
        (CARD.replace("第五种问法", "第四种问法"), 11, "question 第四种问法 is already at"),
        (CARD + CARD, 24, "id pension_age is already at"),
        (CARD.replace("  title: ", "  title: : "), 4, "not valid YAML"),
        (CARD.replace("certain: true", "certain: false"), 3, "certain is false, but nothing"),
        (CARD + "  related: [pension_moon]\n", 24, "related: no card pension_moon"),
        (CARD + "  offer: {question: 要听吗？, card: x}\n", 24, "offer: no card x"),
        (CARD + "  offer: {question: 要听吗？}\n", 24, "offer: give either card or service"),
        (CARD + "  calculator: lottery\n", 24, "calculator: no calculator lottery"),
        (CARD.replace("63岁", "{moon}岁"), 19, "answer: {moon} has no national wording"),
        (CARD.replace("63岁", "{pension_base}岁"), 19, "{pension_base} has no national wording"),
        (CARD.replace("男职工逐步", "这里写"), 19, "answer: not filled in yet"),
    ],
)
def test_a_broken_card_is_named_with_its_place_and_remedy(
    tmp_path: Path, broken: str, line: int, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        _load(tmp_path, HEAD + broken)
    assert f"pension.yaml:{line}: " in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["", "id: x", "- id: x", "topic: 甲\n", "topic: 甲\ncards: 3\n"])
def test_a_file_without_cards_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"begin with 'topic: …' and 'cards:'"):
        _load(tmp_path, text)


def test_no_cards_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no policy cards; add at least one"):
        policies.load(tmp_path)


def test_every_mistake_is_told_not_only_the_first(tmp_path: Path) -> None:
    broken = CARD.replace("63岁。", "63岁").replace("certain: true", "certain: maybe")
    (tmp_path / "pension.yaml").write_text(HEAD + broken, encoding="utf-8")
    problems = policies.check(tmp_path)
    assert [problem.message.partition(":")[0] for problem in problems] == ["answer", "certain"]


def test_the_same_question_in_two_files_is_a_clash(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HEAD + CARD, encoding="utf-8")
    other = CARD.replace("pension_age", "pension_old").replace("第一种问法", "第一种，问法？")
    (tmp_path / "b.yaml").write_text(HEAD + other, encoding="utf-8")
    messages = [str(problem) for problem in policies.check(tmp_path)]
    assert any("b.yaml:7: question 第一种问法 is already at" in message for message in messages)


def test_a_stale_card_is_a_warning(tmp_path: Path) -> None:
    _load(tmp_path, HEAD + CARD)
    [problem] = policies.check(tmp_path, datetime.date(2028, 1, 1))
    assert not problem.serious
    assert "warning: checked: 2026-11-23 is over" in str(problem)
    assert problem.line == 23


def test_a_new_card_fails_the_check_until_it_is_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policies, "POLICIES", tmp_path)
    _load(tmp_path, HEAD + CARD)
    assert cli.main(["policies", "add", "pension", "pension_night"]) == 0
    assert "pension.yaml:25: fill this card in" in capsys.readouterr().out
    assert cli.main(["policies", "check", str(tmp_path)]) == 1
    assert "answer: not filled in yet" in capsys.readouterr().out
    assert cli.main(["policies", "add", "pension", "pension_age"]) == 2
    assert cli.main(["policies", "add", "pension", "养老"]) == 2
    assert cli.main(["policies", "add", "newtopic", "newtopic_first"]) == 0
    assert yaml.safe_load((tmp_path / "newtopic.yaml").read_text("utf-8"))["topic"] == "newtopic"


def test_offers_name_services_that_exist() -> None:
    domain = yaml.safe_load((RASA_PROJECT / "domain/business.yml").read_text("utf-8"))
    services = {card.offer.service for card in policies.load() if card.offer} - {None, "human"}
    assert services
    assert services <= set(domain["intents"])


def test_fixed_sentences_are_rendered_ahead() -> None:
    rendered = fixed_sentences(Settings())
    assert len(rendered) == len(set(rendered))
    assert not [text for text in rendered if "{" in text]
    assert "查到了。" in rendered, "the fixed beginning of a reply with a balance in it"
    assert "您职工养老个人账户一共有" in rendered, "the words before the balance"
    assert FILLER in rendered, "said when everything is slow"
    assert "查养老账户的余额" not in rendered, "only ever part of a sentence"


def test_a_new_way_of_asking_needs_training_and_a_changed_answer_does_not(tmp_path: Path) -> None:
    before = _load(tmp_path, HEAD + CARD)
    answered = _load(tmp_path, HEAD + CARD.replace("63岁", "60岁"))
    asked = _load(tmp_path, HEAD + CARD.replace("第一种问法", "别的问法"))
    assert training._fingerprint(before) == training._fingerprint(answered)
    assert training._fingerprint(before) != training._fingerprint(asked)
    assert policies.spoken(before) != policies.spoken(answered)
