"""Guards the policy cards: a policy editor changes YAML only, and a mistake is named precisely."""

from pathlib import Path

import pytest
import yaml

from assistant.call import FILLER
from assistant.dialogue import policies, training
from assistant.dialogue.policies import Card
from assistant.dialogue.serving import RASA_PROJECT
from assistant.settings import ConfigError, Settings
from assistant.setup import fixed_sentences
from assistant.speech.spoken import sentences

SAYS = "\n".join(f"    - 第{n}种问法" for n in "一二三四五六七八九十甲乙")

CARD = f"""\
- id: pension_age
  title: 多大年纪退休
  says:
{SAYS}
  answer: 男职工逐步推到63岁。
  basis: 国务院的办法第1条
  checked: 2026-11-23
"""


def _load(folder: Path, text: str) -> list[Card]:
    (folder / "pension.yaml").write_text(text, encoding="utf-8")
    return policies.load(folder)


def test_the_cards_of_the_project_are_complete() -> None:
    cards = policies.load()
    topics = {card.id.partition("_")[0] for card in cards}
    assert {"pension", "unemployment", "injury", "residents", "card", "enrolment"} <= topics
    for topic in topics - {"medical"}:
        assert sum(card.id.startswith(topic) for card in cards) >= 2, topic


def test_answer_comes_first_then_the_basis_then_the_next_step(tmp_path: Path) -> None:
    [card] = _load(tmp_path, CARD)
    assert card.spoken == ("男职工逐步推到63岁。依据是国务院的办法第1条。还有什么可以帮您？")


def test_an_offer_takes_the_place_of_the_next_step(tmp_path: Path) -> None:
    offer = "  offer: {question: 要不要查一查？, intent: ask_contributions}\n"
    [card] = _load(tmp_path, CARD + offer)
    assert card.spoken.endswith("第1条。要不要查一查？")
    [response] = policies.training_data([card])["responses"]["utter_policy_pension_age"]
    assert response["custom"] == {"expect": "yes_no", "suggest": ["ask_contributions"]}


@pytest.mark.parametrize(
    ("broken", "line", "told"),
    [
        (CARD.replace("  answer:", "  anwser:"), 1, "answer: missing; add it"),
        (CARD + "  colour: red\n", 19, "colour: unknown; a card has id, title, says"),
        (CARD.replace("    - 第一种问法\n", ""), 4, "says: write at least 12 ways"),
        (CARD.replace("第1条", "第[1]条"), 17, "basis: [ ] cannot be spoken"),
        (CARD.replace("推到63岁", "推" * 61), 16, "answer: a sentence of"),
        (CARD.replace("2026-11-23", "soon"), 18, "checked: "),
        (CARD.replace("id: pension_age", "id: 退休"), 1, "id: "),
        (CARD.replace("第五种问法", "第四种问法"), 1, "question 第四种问法 is already at"),
        (CARD + CARD, 19, "id pension_age is already at"),
        (CARD.replace("  title: ", "  title: : "), 2, "not valid YAML"),
    ],
)
def test_a_broken_card_is_named_with_its_place_and_remedy(
    tmp_path: Path, broken: str, line: int, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        _load(tmp_path, broken)
    assert f"pension.yaml:{line}: " in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"), [("", "not a list of cards"), ("id: x", "not a list of cards")]
)
def test_a_file_without_cards_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _load(tmp_path, text)


def test_no_cards_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no policy cards; add at least one"):
        policies.load(tmp_path)


def test_a_question_is_answered_inside_each_form_too() -> None:
    cards = policies.load()
    rules = policies.training_data(cards)["rules"]
    inside = [rule for rule in rules if "condition" in rule]
    assert len(inside) == len(cards) * len(policies.FORMS)
    assert all(rule["steps"][-1] == {"active_loop": rule["steps"][-2]["action"]} for rule in inside)


def test_offers_name_services_that_exist() -> None:
    domain = yaml.safe_load((RASA_PROJECT / "domain/business.yml").read_text("utf-8"))
    for card in policies.load():
        assert card.offer is None or card.offer.intent in domain["intents"]


def test_every_sentence_without_a_variable_is_rendered_ahead() -> None:
    rendered = fixed_sentences(Settings())
    assert len(rendered) == len(set(rendered))
    assert not [text for text in rendered if "{" in text]
    assert set(rendered) >= {s for card in policies.load() for s in sentences(card.spoken)}
    assert "查到了。" in rendered, "the fixed beginning of a reply with a balance in it"
    assert FILLER in rendered, "said when everything is slow"
    assert "查养老账户的余额" not in rendered, "only ever part of a sentence"


def test_a_changed_answer_asks_for_a_new_model(tmp_path: Path) -> None:
    [card] = _load(tmp_path, CARD)
    [changed] = _load(tmp_path, CARD.replace("63岁", "60岁"))
    assert training._fingerprint([card]) == training._fingerprint([card])
    assert training._fingerprint([card]) != training._fingerprint([changed])
