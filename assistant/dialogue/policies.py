"""Policy cards: the answers that a policy editor keeps in configs/policies/*.yaml.

A file is a topic, a list of cards. From the cards come Rasa's examples, responses and rules, so a
changed answer needs no code. Every mistake is reported with its file, line and remedy.
"""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from assistant.settings import ROOT, ConfigError

POLICIES = ROOT / "configs" / "policies"

FEWEST_SAYS = 12
"""With fewer ways of asking, the card is not told from its neighbours."""

LONGEST_SENTENCE = 60
"""Characters: about 13 s of speech, more than anyone keeps in mind on the telephone."""

NEXT_STEP = "还有什么可以帮您？"

FORMS = ("identity_form", "confirm_form")
"""A policy question inside one of these is answered, and then the form goes on."""

_MARKUP = frozenset("[](){}/")
"""These mean something to Rasa in an example or a response."""


def _speakable(text: str) -> str:
    text = "".join(text.split())
    if marks := sorted(_MARKUP & set(text)):
        raise ValueError(f"{' '.join(marks)} cannot be spoken; write it in words")
    return text


def _short(text: str) -> str:
    for sentence in re.split("[。！？；：]", text):
        if len(sentence) > LONGEST_SENTENCE:
            raise ValueError(
                f"a sentence of {len(sentence)} characters; "
                f"at most {LONGEST_SENTENCE}: {sentence[:20]}…"
            )
    return text


Speakable = Annotated[str, Field(min_length=1), AfterValidator(_speakable)]
Spoken = Annotated[Speakable, AfterValidator(_short)]


class Offer(BaseModel):
    """What the hotline offers to do after the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: Spoken
    intent: str = Field(pattern="^[a-z_]+$")
    """A yes to the question counts as this intent, e.g. ask_contributions."""


class Card(BaseModel):
    """One policy question and its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern="^[a-z][a-z0-9_]*$")
    title: Speakable
    """How the hotline names the question when it asks back."""
    says: list[Speakable] = Field(min_length=FEWEST_SAYS)
    answer: Spoken
    basis: Speakable
    checked: datetime.date
    """When the answer was last compared with the law."""
    offer: Offer | None = None

    @property
    def intent(self) -> str:
        """The name of the question in Rasa."""
        return f"policy_{self.id}"

    @property
    def spoken(self) -> str:
        """Answer first, then the basis, then the next step."""
        next_step = self.offer.question if self.offer else NEXT_STEP
        return f"{self.answer}依据是{self.basis}。{next_step}"


def load(folder: Path = POLICIES) -> list[Card]:
    """All cards; raises ConfigError with file, line and remedy for the first mistake."""
    cards: list[Card] = []
    places: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        for line, card in _read(file):
            place = f"{file}:{line}"
            for key in (f"id {card.id}", *(f"question {says}" for says in card.says)):
                if key in places:
                    raise ConfigError(f"{place}: {key} is already at {places[key]}; remove one")
                places[key] = place
            cards.append(card)
    if not cards:
        raise ConfigError(f"{folder}: no policy cards; add at least one *.yaml file")
    return cards


def _read(file: Path) -> Iterator[tuple[int, Card]]:
    loader = None
    try:
        loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if not isinstance(node, yaml.SequenceNode):
            raise ConfigError(f"{file}: not a list of cards; begin each card with '- id: …'")
        for item in node.value:
            yield item.start_mark.line + 1, _card(file, item, loader.construct_object(item, True))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{file}:{line}: not valid YAML: {problem}") from None
    finally:
        if loader:
            loader.dispose()


def _card(file: Path, node: yaml.Node, values: Any) -> Card:
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        place = f"{file}:{_line(node, first['loc'])}"
        raise ConfigError(f"{place}: {field}: {_remedy(first['type'], first['msg'])}") from None


def _line(node: yaml.Node, path: tuple[int | str, ...]) -> int:
    """The line of the field at `path`, or of the nearest one around it that exists."""
    line = node.start_mark.line + 1
    for part in path:
        inner = None
        if isinstance(node, yaml.MappingNode):
            inner = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            inner = node.value[part]
        if inner is None:
            break
        node, line = inner, inner.start_mark.line + 1
    return line


def _remedy(kind: str, message: str) -> str:
    if kind == "missing":
        return "missing; add it to the card"
    if kind == "extra_forbidden":
        return f"unknown; a card has {', '.join(Card.model_fields)}"
    if kind == "too_short":
        return f"write at least {FEWEST_SAYS} ways in which people ask this"
    return message.removeprefix("Value error, ")


def training_data(cards: list[Card]) -> dict[str, Any]:
    """Rasa's training data of the cards: intents, examples, responses and rules."""
    return {
        "version": "3.1",
        "intents": [card.intent for card in cards],
        "nlu": [
            {"intent": card.intent, "examples": "".join(f"- {says}\n" for says in card.says)}
            for card in cards
        ],
        "responses": dict(response for card in cards for response in _responses(card)),
        "rules": [rule for card in cards for rule in _rules(card)],
    }


def _responses(card: Card) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    control: dict[str, Any] = {"expect": "free"}
    if card.offer:
        control = {"expect": "yes_no", "suggest": [card.offer.intent]}
    yield f"utter_{card.intent}", [{"text": card.spoken, "custom": control}]
    # Inside a form the form's own question is the next step.
    yield f"utter_{card.intent}_in_form", [{"text": f"{card.answer}依据是{card.basis}。"}]
    yield f"utter_topic_{card.intent}", [{"text": card.title}]


def _rules(card: Card) -> Iterator[dict[str, Any]]:
    question = {"intent": card.intent}
    yield {
        "rule": card.id,
        "steps": [question, {"action": f"utter_{card.intent}"}],
    }
    for form in FORMS:
        yield {
            "rule": f"{card.id} inside {form}",
            "condition": [{"active_loop": form}],
            "steps": [
                question,
                {"action": f"utter_{card.intent}_in_form"},
                {"action": form},
                {"active_loop": form},
            ],
        }
