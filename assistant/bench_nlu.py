"""How well the served dialogue understands callers it has never met, and how fast."""

import itertools
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.bench import Distribution
from assistant.dialogue import policies
from assistant.dialogue.dialogue import Response
from assistant.dialogue.rasa import RasaDialogue
from assistant.settings import ConfigError, Settings, project_path
from assistant.speech.mishear import Misheard
from assistant.speech.recognizer import Transcript

HELD_OUT = project_path("tests/data/held_out.tsv")
"""Callers that no training data and no threshold has seen: text, tab, what is meant."""

TUNING = HELD_OUT.with_name("tuning.tsv")
"""Callers that no training data has seen; settings are chosen on them."""

OUT_OF_SCOPE = "out_of_scope"

NOISE = 0.2
"""Share of the characters misheard: what Whisper base does over a noisy telephone line."""


@dataclass(frozen=True, slots=True)
class Case:
    """One caller's sentence and what it means: an intent, or policy/<card>."""

    text: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A case and what the hotline made of it."""

    case: Case
    understood: str
    """The card that was answered, else the intent."""
    ms: float

    @property
    def right(self) -> bool:
        """Whether the caller got the right card, or was understood."""
        return self.understood == self.case.meaning


@dataclass
class Result:
    """All answers under one condition."""

    answers: list[Answered] = field(default_factory=list)

    def share_right(self, meanings: Container[str]) -> float:
        """Share of right answers among the cases with one of these meanings."""
        chosen = [each for each in self.answers if each.case.meaning in meanings]
        return sum(each.right for each in chosen) / len(chosen) if chosen else float("nan")

    @property
    def meanings(self) -> set[str]:
        """All that was meant."""
        return {each.case.meaning for each in self.answers}

    @property
    def false_accepts(self) -> float:
        """Share of the cases out of scope that were answered with a policy card."""
        outside = [each for each in self.answers if each.case.meaning == OUT_OF_SCOPE]
        wrong = sum(is_policy(each.understood) for each in outside)
        return wrong / len(outside) if outside else float("nan")

    @property
    def latency(self) -> Distribution:
        """Text in to text out."""
        return Distribution(tuple(each.ms for each in self.answers))

    def confusions(self) -> list[tuple[str, str, int]]:
        """Meant, understood, how often; the most frequent first."""
        pairs = Counter(
            (each.case.meaning, each.understood) for each in self.answers if not each.right
        )
        return [(*pair, count) for pair, count in pairs.most_common()]


def is_policy(meaning: str) -> bool:
    """Whether it is a card."""
    return meaning.startswith(f"{policies.INTENT}/")


def read_cases(file: Path) -> list[Case]:
    """The cases of a file: text, tab, meaning; a meaning without prefix may be a card's id.

    Raises ConfigError with file and line.
    """
    cards = {card.id for card in policies.load()}
    cases = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        text, tab, meaning = line.partition("\t")
        meaning = meaning.strip()
        if not tab or not text.strip() or not meaning:
            raise ConfigError(f"{file}:{number}: write text, a tab, and what is meant")
        if is_policy(meaning) and meaning.partition("/")[2] not in cards:
            raise ConfigError(f"{file}:{number}: no card {meaning.partition('/')[2]}")
        cases.append(Case(text, f"{policies.INTENT}/{meaning}" if meaning in cards else meaning))
    if not cases:
        raise ConfigError(f"{file}: no cases in it")
    return cases


async def measure(
    settings: Settings, cases: Sequence[Case], noise: Sequence[float] = (0.0, NOISE)
) -> dict[str, Result]:
    """Ask the served dialogue each case in a call of its own, clean and misheard."""
    results: dict[str, Result] = {}
    async with RasaDialogue(settings) as dialogue:
        await _ask(dialogue, cases[0].text)  # the first question loads what the others find
        for share in noise:
            mishear = Misheard(share)
            result = results["clean" if share == 0 else "noised"] = Result()
            for number, case in enumerate(cases, 1):
                heard = mishear(case.text) if share else case.text
                response, ms = await _ask(dialogue, heard)
                result.answers.append(Answered(case, meaning_of(response), ms))
                if number % 200 == 0:
                    print(f"{number} of {len(cases)}", file=sys.stderr, flush=True)
    return results


async def _ask(dialogue: RasaDialogue, text: str) -> tuple[Response, float]:
    call_id = f"bench-{uuid.uuid4().hex}"
    began = time.perf_counter()
    response = await dialogue.respond(call_id, Transcript(text, 1.0))
    ms = (time.perf_counter() - began) * 1000
    await dialogue.forget(call_id)
    return response, ms


def meaning_of(response: Response) -> str:
    """The card that was answered; else the intent, and `asked_back` where no card was given."""
    if response.cards:
        return f"{policies.INTENT}/{response.cards[0]}"
    intent = response.intent or ""
    return "asked_back" if is_policy(intent) else intent


def topics() -> dict[str, str]:
    """Card's meaning → name of its file."""
    placed, _ = policies.read(policies.POLICIES)
    return {each.card.intent: each.file.stem for each in placed}


def report(results: dict[str, Result]) -> dict[str, Any]:
    """The figures, for --json and the table."""
    topic_of = topics()
    found: dict[str, Any] = {}
    for condition, result in results.items():
        by_topic = {
            topic: round(result.share_right({m for m, t in topic_of.items() if t == topic}), 4)
            for topic in sorted(set(topic_of.values()))
        }
        found[condition] = {
            "n": len(result.answers),
            "cards": round(result.share_right(topic_of), 4),
            "other": round(result.share_right(result.meanings - {*topic_of, OUT_OF_SCOPE}), 4),
            "out_of_scope_false_accepts": round(result.false_accepts, 4),
            "topics": by_topic,
            "latency": result.latency.as_json(),
            "confusions": result.confusions()[:30],
        }
    return found


def table(found: dict[str, Any]) -> str:
    """The figures for a person."""
    conditions = list(found)
    lines = [f"{'':28}" + "".join(f"{name:>12}" for name in conditions)]

    def row(name: str, value: Callable[[dict[str, Any]], str]) -> None:
        lines.append(f"{name:28}" + "".join(f"{value(found[c]):>12}" for c in conditions))

    row("utterances", lambda each: str(each["n"]))
    row("right card", lambda each: f"{each['cards']:.1%}")
    row("other intents right", lambda each: f"{each['other']:.1%}")
    row("out of scope answered", lambda each: f"{each['out_of_scope_false_accepts']:.1%}")
    row("p50 ms", lambda each: f"{each['latency']['p50_ms']}")
    row("p95 ms", lambda each: f"{each['latency']['p95_ms']}")
    for topic in found[conditions[0]]["topics"]:
        row(f"  {topic}", lambda each: f"{each['topics'][topic]:.1%}")  # noqa: B023 used at once
    lines.append("most confused (meant, understood, times):")
    for meant, understood, count in found[conditions[0]]["confusions"][:12]:
        lines.append(f"  {meant.removeprefix('policy/'):30} {understood:38} {count}")
    return "\n".join(lines)


def draw(results: dict[str, Result], file: Path) -> None:
    """Confusion matrices by topic, one a condition, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    topic_of = topics()
    names = [*sorted(set(topic_of.values())), "other intent", "asked back"]

    def place(meaning: str) -> int:
        if meaning in topic_of:
            return names.index(topic_of[meaning])
        return names.index("asked back" if meaning == "asked_back" else "other intent")

    figure, axes = pyplot.subplots(
        1, len(results), figsize=(9 * len(results), 8.5), squeeze=False, layout="constrained"
    )
    for axis, (condition, result) in zip(axes[0], results.items(), strict=True):
        counts = [[0] * len(names) for _ in names]
        for each in result.answers:
            counts[place(each.case.meaning)][place(each.understood)] += 1
        shares = [[count / max(sum(row), 1) for count in row] for row in counts]
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in itertools.product(range(len(names)), repeat=2):
            if counts[row][column]:
                dark = shares[row][column] > 0.5
                axis.text(
                    column,
                    row,
                    str(counts[row][column]),
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_xlabel("understood")
        axis.set_ylabel("meant")
        axis.set_title(
            f"{condition}: {result.share_right(topic_of):.1%} of the card questions right"
        )
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
