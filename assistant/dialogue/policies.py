"""Policy cards: the answers that a policy editor keeps in configs/policies/*.yaml.

A file is a topic with its cards. From the cards come the classifier's examples and everything
that is said about policy, so a changed answer needs no code. The folder phrasings beside them has
further examples, which would bury the answers. Every mistake is reported with its file, line and
remedy.
"""

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from assistant import parameters
from assistant.backend.calculators import CALCULATORS
from assistant.parameters import Parameter
from assistant.settings import ROOT, ConfigError

POLICIES = ROOT / "configs" / "policies"

FURTHER = "phrasings"
"""Folder beside the cards: by a card's id, more of what callers say when they mean it."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where there is one: eight times as fast, and the cards are a megabyte."""

FEWEST_SAYS = 12
"""With fewer ways of asking, the card is not told from its neighbours."""

LONGEST_SENTENCE = 60
"""Characters: about 13 s of speech, more than anyone keeps in mind on the telephone."""

STALE_DAYS = 400
"""A card not compared with the law for longer is reported: most amounts change once a year."""

INTENT = "policy"
"""All cards are one intent to the dialogue; which card is meant is told beside it."""

_UNREADABLE = re.compile(
    r"[\[\](){}/（）《》〈〉【】“”\"'％%‰≥≤＞＜<>→←↑↓~～—–+×÷=＝*#&@^_|\\•·℃€$￥¥]"
)
"""No voice reads these as a person would."""

TO_FILL = "这里写"
"""Stands in a new card where the editor has not written yet."""

_READABLE = re.compile(r"\d(?:\.\d+)?%|\{[a-z_]+\}")
"""A percentage after its number is read well; a parameter in braces is replaced before."""

_HEDGE = re.compile(r"当地|各地|各省|参保地|户籍地|为准|核定|一般|通常|公布|多数|大约|按规定|地方")

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

Service = Literal[
    "ask_account_balance",
    "ask_contributions",
    "ask_pension_payments",
    "ask_case_status",
    "report_lost_card",
    "human",
]


def _speakable(text: str) -> str:
    text = "".join(text.split())
    if TO_FILL in text:
        raise ValueError("not filled in yet")
    if marks := sorted(set(_UNREADABLE.findall(_READABLE.sub("", text)))):
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


def _ended(text: str) -> str:
    if not text.endswith(("。", "？", "！")):
        raise ValueError("ends without 。 or ？; the voice would run on")
    return text


def _calculator(name: str) -> str:
    if name not in CALCULATORS:
        raise ValueError(f"no calculator {name}; there are {', '.join(CALCULATORS)}")
    return name


Speakable = Annotated[str, Field(min_length=1), AfterValidator(_speakable)]
Spoken = Annotated[Speakable, AfterValidator(_short)]
Sentences = Annotated[Spoken, AfterValidator(_ended)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Offer(_Part):
    """What the hotline offers after the answer: another card, or the caller's own business."""

    question: Sentences
    card: str | None = None
    service: Service | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.card is None) == (self.service is None):
            raise ValueError("give either card or service: what a yes leads to")
        return self

    @property
    def leads_to(self) -> str:
        """What a yes to the question counts as."""
        return self.service or f"{INTENT}/{self.card}"


class Card(_Part):
    """One policy question and its answer."""

    id: str = Field(pattern="^[a-z][a-z0-9_]*$")
    title: Speakable
    """How the hotline names the question when it asks back: 您是想问{title}，还是…？"""
    subject: Speakable
    """What a follow-up such as 那要带什么材料 is about."""
    says: list[Speakable] = Field(min_length=FEWEST_SAYS)
    answer: Sentences
    more: Sentences
    """Spoken on 说详细点."""
    basis: Spoken
    certain: bool
    """Whether every fact was checked against the law; if not, the answer must say so."""
    depends_on: list[Literal["region", "category", "date"]] = []
    calculator: Annotated[str, AfterValidator(_calculator)] | None = None
    """Goes on by asking for what this calculator needs."""
    offer: Offer | None = None
    related: list[str] = []
    protected: bool = False
    """Whether the caller hears the answer to its end: only a key stops it, not their voice."""
    checked: datetime.date
    """When the answer was last compared with the law."""

    @model_validator(mode="after")
    def _honest(self) -> Self:
        if not self.certain and not _HEDGE.search(self.answer + self.more):
            raise ValueError(
                "certain is false, but nothing in the answer says so; "
                "add who decides, e.g. 以参保地经办机构核定为准"
            )
        return self

    @property
    def intent(self) -> str:
        """The name of the question to the classifier."""
        return f"{INTENT}/{self.id}"

    @property
    def named(self) -> str:
        """What the answer begins with where it is not quite certain that this was asked."""
        return f"您问的是{self.title}。"

    @property
    def texts(self) -> dict[str, str]:
        """What is spoken of the card, by field."""
        return {"answer": self.answer, "more": self.more, "basis": self.basis}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the cards."""

    file: Path
    line: int
    message: str
    serious: bool = True
    """Whether the cards cannot be used as they are."""

    def __str__(self) -> str:
        kind = "" if self.serious else "warning: "
        return f"{self.file}:{self.line}: {kind}{self.message}"


@dataclass(frozen=True, slots=True)
class Further:
    """One more way of asking, and where it stands."""

    card: str
    """The id of what is meant by it."""
    says: str
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A card and where it stands."""

    card: Card
    topic: str
    file: Path
    node: yaml.Node
    further: Sequence[Further] = ()
    """The last ones of what the card says, which stand in another file."""

    def asked_at(self, number: int) -> tuple[Path, int]:
        """File and line of a way of asking."""
        own = len(self.card.says) - len(self.further)
        if number >= own:
            return self.further[number - own].file, self.further[number - own].line
        return self.file, self.line("says", number)

    def line(self, *path: int | str) -> int:
        """The line of a field."""
        return _line(self.node, path)


def load(folder: Path = POLICIES) -> list[Card]:
    """All cards; raises ConfigError with file, line and remedy for the first mistake."""
    placed, problems = read(folder)
    if serious := [problem for problem in problems if problem.serious]:
        raise ConfigError(str(serious[0]))
    return [each.card for each in placed]


def check(folder: Path = POLICIES, today: datetime.date | None = None) -> list[Problem]:
    """Every mistake in the cards, in the order of the files; warnings too."""
    placed, problems = read(folder)
    oldest = (today or datetime.date.today()) - datetime.timedelta(days=STALE_DAYS)
    for each in placed:
        if each.card.checked < oldest:
            problems.append(
                Problem(
                    each.file,
                    each.line("checked"),
                    f"checked: {each.card.checked} is over {STALE_DAYS} days ago; "
                    "compare the answer with the law and set today's date",
                    serious=False,
                )
            )
    return sorted(problems, key=lambda problem: (str(problem.file), problem.line))


def read(folder: Path) -> tuple[list[Placed], list[Problem]]:
    """The cards that can be read, and what is wrong with them or with the others."""
    placed: list[Placed] = []
    problems: list[Problem] = []
    files = sorted(folder.glob("*.yaml"))
    for file in files:
        for found in _read(file):
            if isinstance(found, Problem):
                problems.append(found)
            else:
                placed.append(found)
    placed, misplaced = _asked_further(placed, folder / FURTHER)
    problems += misplaced
    if not files or (not placed and not problems):
        problems.append(Problem(folder, 1, "no policy cards; add at least one *.yaml file"))
    problems += _clashes(placed)
    problems += _dangling(placed)
    problems += _unknown_parameters(placed)
    return placed, problems


def _read(file: Path) -> Iterator[Placed | Problem]:
    loader = None
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        fields = (
            {key.value: value for key, value in node.value}
            if isinstance(node, yaml.MappingNode)
            else {}
        )
        cards = fields.get("cards")
        if set(fields) != {"topic", "cards"} or not isinstance(cards, yaml.SequenceNode):
            yield Problem(file, 1, "begin with 'topic: …' and 'cards:', each card with '- id: …'")
            return
        topic = str(loader.construct_object(fields["topic"]))
        for item in cards.value:
            try:
                card = Card.model_validate(loader.construct_object(item, True))
            except ValidationError as error:
                for each in error.errors():
                    field = ".".join(str(part) for part in each["loc"])
                    line = _line(item, each["loc"])
                    remedy = _remedy(each["type"], each["msg"])
                    yield Problem(file, line, f"{field}: {remedy}" if field else remedy)
                continue
            yield Placed(card, topic, file, item)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        yield _not_yaml(file, error)
    finally:
        if loader:
            loader.dispose()


def _not_yaml(file: Path, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or error
    return Problem(file, mark.line + 1 if mark else 1, f"not valid YAML: {problem}")


def _asked_further(placed: list[Placed], folder: Path) -> tuple[list[Placed], list[Problem]]:
    """The cards with all that is said for them in that folder too, and what is wrong there."""
    problems = []
    further: dict[str, list[Further]] = {each.card.id: [] for each in placed}
    for file in sorted(folder.glob("*.yaml")):
        for found in _further(file):
            if isinstance(found, Problem):
                problems.append(found)
            elif found.card in further:
                further[found.card].append(found)
            else:
                message = f"no card {found.card}; correct the id, or remove its phrasings"
                problems.append(Problem(file, found.line, message))
    return [_with(each, further[each.card.id]) for each in placed], problems


def _with(placed: Placed, further: Sequence[Further]) -> Placed:
    says = [*placed.card.says, *(each.says for each in further)]
    return replace(placed, card=placed.card.model_copy(update={"says": says}), further=further)


def _further(file: Path) -> Iterator[Further | Problem]:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield _not_yaml(file, error)
        return
    cards = node.value if isinstance(node, yaml.MappingNode) else []
    if not cards:
        yield Problem(file, 1, "begin with a card's id and ':', and under it '- ' and a phrasing")
    for name, phrasings in cards:
        line = name.start_mark.line + 1
        if not isinstance(phrasings, yaml.SequenceNode):
            yield Problem(file, line, f"{name.value}: write each phrasing in a line with '- '")
            continue
        for each in phrasings.value:
            line = each.start_mark.line + 1
            try:
                if not isinstance(each, yaml.ScalarNode) or not each.value:
                    raise ValueError("write what a caller says")
                yield Further(name.value, _speakable(each.value), file, line)
            except ValueError as error:
                yield Problem(file, line, f"{name.value}: {error}")


def _clashes(placed: Sequence[Placed]) -> Iterator[Problem]:
    """The same id or the same question twice: which card would be meant?"""
    places: dict[str, str] = {}
    for each in placed:
        keys = [(f"id {each.card.id}", (each.file, each.line("id")))]
        keys += [
            (f"question {re.sub('[，？。！]', '', says)}", each.asked_at(number))
            for number, says in enumerate(each.card.says)
        ]
        for key, (file, line) in keys:
            if key in places:
                message = f"{key} is already at {places[key]}; remove one"
                yield Problem(file, line, message)
            else:
                places[key] = f"{file}:{line}"


def _dangling(placed: Sequence[Placed]) -> Iterator[Problem]:
    """Offers and related cards that do not exist."""
    known = {each.card.id for each in placed}
    for each in placed:
        names: list[tuple[tuple[str | int, ...], str]] = [
            (("related", number), name) for number, name in enumerate(each.card.related)
        ]
        if each.card.offer and each.card.offer.card:
            names.append((("offer", "card"), each.card.offer.card))
        for path, name in names:
            if name not in known:
                yield Problem(each.file, each.line(*path), f"{path[0]}: no card {name}")


def _unknown_parameters(placed: Sequence[Placed]) -> Iterator[Problem]:
    """Parameters that no province, and not the nation, has words for."""
    used = [
        (each, field, name)
        for each in placed
        for field, text in each.card.texts.items()
        for name in PLACEHOLDER.findall(text)
    ]
    if not used:
        return
    known = parameters.load()
    for each, field, name in used:
        if name not in known or known[name].national is None:
            message = f"{field}: {{{name}}} has no national wording in {parameters.FILE.name}"
            yield Problem(each.file, each.line(field), message)


def _line(node: yaml.Node, path: Sequence[int | str]) -> int:
    """The line of the field at `path`, or of the nearest one around it that exists."""
    line = node.start_mark.line + 1
    for part in path:
        inner = None
        if isinstance(node, yaml.MappingNode):
            inner = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            inner = node.value[part] if part < len(node.value) else None
        if inner is None:
            break
        node, line = inner, inner.start_mark.line + 1
    return int(line)


def _remedy(kind: str, message: str) -> str:
    if kind == "missing":
        return "missing; add it to the card"
    if kind == "extra_forbidden":
        return f"unknown; a card has {', '.join(Card.model_fields)}"
    if kind == "too_short":
        return f"write at least {FEWEST_SAYS} ways in which people ask this"
    return message.removeprefix("Value error, ")


def training_data(cards: Sequence[Card]) -> dict[str, Any]:
    """Rasa's training data of the cards: their examples, each under its own question."""
    return {
        "version": "3.1",
        "nlu": [
            {
                "intent": card.intent,
                "examples": "".join(f"- {says}\n" for says in [card.title, *card.says]),
            }
            for card in cards
        ],
    }


def spoken(cards: Sequence[Card], known: dict[str, Parameter] | None = None) -> dict[str, Any]:
    """What the actions need of cards, parameters and calculators, for JSON."""
    known = known if known is not None else parameters.load()
    return {
        "cards": {
            card.id: card.model_dump(mode="json", exclude={"says", "checked", "id"})
            | {"leads_to": card.offer.leads_to if card.offer else None, "named": card.named}
            for card in cards
        },
        "parameters": {
            name: {"national": parameter.national, "provinces": parameter.provinces}
            for name, parameter in known.items()
            if parameter.national is not None
        },
        "calculators": {name: list(each.takes) for name, each in CALCULATORS.items()},
    }


def scaffold(topic_file: Path, card_id: str) -> int:
    """Append an empty card to a topic's file; returns the line to start editing at.

    Raises ConfigError when the id is taken or is no id.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", card_id):
        raise ConfigError(f"{card_id}: an id has lower-case letters, digits and _ only")
    placed, _ = read(topic_file.parent)
    if any(each.card.id == card_id for each in placed):
        raise ConfigError(f"{card_id}: there is such a card already")
    text = topic_file.read_text("utf-8") if topic_file.exists() else ""
    if not text:
        text = f"topic: {topic_file.stem}\ncards:\n"
    line = text.count("\n") + 2
    says = "\n".join(f"    - 第{number}种问法" for number in "一二三四五六七八九十甲乙")
    text = text.rstrip("\n") + _SCAFFOLD.format(
        id=card_id, says=says, today=datetime.date.today().isoformat()
    )
    topic_file.write_text(text, encoding="utf-8")
    return line


_SCAFFOLD = """

- id: {id}
  title: 这里写问题的名字
  subject: 主题词
  says:                     # at least 12 ways in which people ask exactly this
{says}
  answer: >-                # the answer first; each sentence at most 60 characters
    这里写答复。
    以参保地经办机构核定为准。
  more: >-                  # spoken on 说详细点
    这里写更详细的说明。
  basis: 社会保险法第几条
  certain: false            # true once every fact was checked against the law
  depends_on: []            # region, category, date
  related: []
  checked: {today}
"""
