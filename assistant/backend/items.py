"""Service items as an operator writes them: configs/services/*.yaml, one item a file."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from assistant import yaml_file
from assistant.backend.effects import EFFECTS
from assistant.backend.facts import ANSWERS, COMMON
from assistant.backend.months import MONTH
from assistant.backend.rules import RULES
from assistant.backend.wording import PLACEHOLDER
from assistant.settings import ROOT, ConfigError

SERVICES_FOLDER = ROOT / "configs" / "services"

CASE_NUMBER = re.compile(r"GD\d{12}", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slot(_Part):
    """One thing that is asked of the caller."""

    name: str
    type: Literal["choice", "month", "case_number"]
    ask: str
    choices: list[str] = []
    required: bool = False
    default: str | None = None

    def fault(self, value: str) -> str | None:
        """What is wrong with a value, or None."""
        match self.type:
            case "choice" if value not in self.choices:
                return f"must be one of {', '.join(self.choices)}"
            case "month" if not MONTH.fullmatch(value):
                return "must be a month, YYYY-MM"
            case "case_number" if not CASE_NUMBER.fullmatch(value):
                return "must be GD and twelve digits"
        return None


class Precondition(_Part):
    """One rule: `code` names the predicate, `rule` tells it to people."""

    code: str
    rule: str


class Item(_Part):
    """One service item (服务事项)."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str
    kind: Literal["query", "handle", "print"]
    auth: Literal["id_plus_pin"]
    """The level of identity needed; more levels come with their ways of proof."""
    slots: list[Slot] = []
    preconditions: list[Precondition]
    answer: str | None = None
    """The set of facts the reply is made of."""
    effect: str | None = None
    """What is written; handled items only."""
    confirm: str | None = None
    """What is read back before anything is written; handled items only."""
    protected: bool = False
    """Whether the caller hears `confirm` to its end: only a key stops it, not their voice."""
    reply: str
    failures: dict[str, str]
    basis: str

    @model_validator(mode="after")
    def _complete(self) -> Self:
        codes = [precondition.code for precondition in self.preconditions]
        for code in codes:
            if code not in RULES:
                raise ValueError(f"preconditions: no rule {code}; known: {', '.join(RULES)}")
        if set(codes) != set(self.failures):
            raise ValueError("failures: need one text for each code of preconditions")
        if (self.kind == "handle") != bool(self.effect and self.confirm):
            raise ValueError("a handle item, and no other, needs effect and confirm")
        if self.effect and self.effect not in EFFECTS:
            raise ValueError(f"effect: no {self.effect}; known: {', '.join(EFFECTS)}")
        if self.answer and self.answer not in ANSWERS:
            raise ValueError(f"answer: no {self.answer}; known: {', '.join(ANSWERS)}")
        self._check_placeholders()
        return self

    def _check_placeholders(self) -> None:
        known = {*COMMON, *(slot.name for slot in self.slots)}
        facts = ANSWERS[self.answer].names if self.answer else ()
        texts = {f"failures.{code}": (text, known) for code, text in self.failures.items()}
        texts["confirm"] = (self.confirm or "", known)
        texts["reply"] = (self.reply, known | set(facts))
        for field, (text, names) in texts.items():
            for name in PLACEHOLDER.findall(text):
                if name not in names:
                    raise ValueError(f"{field}: no value {{{name}}}; known: {sorted(names)}")


def load_items(folder: Path = SERVICES_FOLDER) -> dict[str, Item]:
    """All items by id. Raises ConfigError that names the file and the field."""
    items: dict[str, Item] = {}
    for file in sorted(folder.glob("*.yaml")):
        item = _load(file)
        if item.id != file.stem:
            raise ConfigError(f"{file}: id is {item.id}; name the file {item.id}.yaml")
        items[item.id] = item
    if not items:
        raise ConfigError(f"{folder}: no service items (*.yaml) here")
    return items


def _load(file: Path) -> Item:
    return yaml_file.read(file, TypeAdapter(Item))
