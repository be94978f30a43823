"""The policy cards as the actions know them: what is said, and what goes with what."""

import functools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INTENT = "policy"
PREFIX = f"{INTENT}/"
"""A card's name among the meanings: policy/<id>."""

NEXT_STEP = "还有什么可以帮您？"

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Card:
    """One policy question and its answer."""

    id: str
    title: str
    subject: str
    answer: str
    more: str
    basis: str
    named: str
    """Said before the answer where it is not quite certain that this was asked."""
    depends_on: list[str] = field(default_factory=list)
    calculator: str | None = None
    question: str | None = None
    """What is offered after the answer, and `leads_to` what a yes then means."""
    leads_to: str | None = None
    related: list[str] = field(default_factory=list)
    protected: bool = False
    """Whether the caller cannot talk over the answer."""

    @property
    def meaning(self) -> str:
        """Its name in the classifier's ranking."""
        return PREFIX + self.id

    @property
    def topic(self) -> str:
        """Cards of one topic begin with the same word."""
        return self.id.partition("_")[0]

    @property
    def is_local(self) -> bool:
        """Whether the answer has a part of its own for some provinces."""
        return bool(_PLACEHOLDER.search(self.answer))

    def is_calculated_from_birth(self, other: "Card") -> bool:
        """Whether this one tells a person's own date on the subject of the other."""
        return self.calculator == "retirement" and self.topic == other.topic


class Cards:
    """All cards, the words of the provinces, and what each calculator takes."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._cards = {
            card_id: Card(
                id=card_id,
                question=(values["offer"] or {}).get("question"),
                **{
                    name: values[name]
                    for name in (
                        *("title", "subject", "answer", "more", "basis", "named", "depends_on"),
                        *("calculator", "leads_to", "related", "protected"),
                    )
                },
            )
            for card_id, values in content["cards"].items()
        }
        self._parameters: dict[str, Any] = content["parameters"]
        self.takes: dict[str, list[str]] = content["calculators"]

    def __iter__(self) -> Iterator[Card]:
        return iter(self._cards.values())

    def get(self, name: str | None) -> Card | None:
        """The card of this id or meaning; None where there is none."""
        return self._cards.get((name or "").removeprefix(PREFIX))

    def spoken(self, text: str, province: str | None = None) -> str:
        """A card's text with the province's words, or the nation's, filled in."""

        def words(match: "re.Match[str]") -> str:
            parameter = self._parameters[match[1]]
            return str(parameter["provinces"].get(province, parameter["national"]))

        return _PLACEHOLDER.sub(words, text)

    def has_words_for(self, card: Card, province: str) -> bool:
        """Whether the answer says something of its own for this province."""
        names = _PLACEHOLDER.findall(card.answer)
        return any(province in self._parameters[name]["provinces"] for name in names)

    def near(self, card: Card, other: Card) -> bool:
        """Whether one may be a follow-up of the other."""
        return other.topic == card.topic or other.id in card.related or card.id in other.related


@functools.cache
def cards() -> Cards:
    """Those of the file that HOTLINE_CARDS names."""
    return Cards(json.loads(Path(os.environ["HOTLINE_CARDS"]).read_text(encoding="utf-8")))
