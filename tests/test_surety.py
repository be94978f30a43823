"""Guards how sure the hotline is of a turn, and what it does about that.

The rules belong to Rasa's environment; they use the standard library only and are loaded by path.
"""

import importlib.util
import json
import random
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from assistant import bench_surety, settings, setup
from assistant.bench_surety import Judged
from assistant.dialogue import policies, surety
from assistant.dialogue.dialogue import Response
from assistant.dialogue.hypotheses import Hypothesis
from assistant.dialogue.serving import RASA_PROJECT, actions_command, rasa_command
from assistant.dialogue.surety import Calibration
from assistant.journal import Event, Journal
from assistant.records import CallRow, TurnRow
from assistant.settings import ConfigError, Privacy
from assistant.speech.recognizer import Expecting
from assistant.speech.spoken import sentences


def _load() -> ModuleType:
    source = RASA_PROJECT / "actions" / "surety.py"
    spec = importlib.util.spec_from_file_location("actions_surety", source)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


rules = _load()

LIMITS = rules.Thresholds(accept=0.8, imply=0.5, confirm=0.2, leave=0.6, effect=0.9, digits=0.5)


# What to do


@pytest.mark.parametrize(
    ("sure", "cost", "decision"),
    [
        # a policy answer: as it is, with its matter named, after a question, not at all
        (1.0, "answer", "accepted"),
        (0.8, "answer", "accepted"),
        (0.79, "answer", "implied"),
        (0.5, "answer", "implied"),
        (0.49, "answer", "confirmed"),
        (0.2, "answer", "confirmed"),
        (0.19, "answer", "asked"),
        (0.0, "answer", "asked"),
        # small talk, a yes to an offer: never named, never confirmed
        (0.79, "little", "accepted"),
        (0.2, "little", "accepted"),
        (0.19, "little", "asked"),
        # the end of the call cannot be taken back: no implicit confirmation
        (0.6, "leave", "accepted"),
        (0.59, "leave", "confirmed"),
        (0.19, "leave", "asked"),
        # a yes to a change: surely or not at all
        (0.9, "effect", "accepted"),
        (0.89, "effect", "asked"),
        (0.5, "effect", "asked"),
    ],
)
def test_the_decision_follows_from_surety_and_cost(sure: float, cost: str, decision: str) -> None:
    assert rules.decide(sure, rules.Cost(cost), LIMITS).value == decision


@pytest.mark.parametrize("cost", ["little", "answer", "leave", "effect"])
def test_more_surety_never_means_more_questions(cost: str) -> None:
    order = ["asked", "confirmed", "implied", "accepted"]
    found = [rules.decide(n / 100, rules.Cost(cost), LIMITS).value for n in range(101)]
    assert [order.index(each) for each in found] == sorted(order.index(each) for each in found)


@pytest.mark.parametrize(
    ("patience", "rungs"),
    [
        (1, "offer_person hand_over give_up give_up"),
        (2, "keys offer_person hand_over give_up"),
        (3, "guesses keys offer_person hand_over give_up"),
        (4, "guesses example keys offer_person hand_over"),
        (5, "guesses keys example keys offer_person hand_over"),
    ],
)
def test_misses_lead_over_keys_to_a_person_within_the_patience(patience: int, rungs: str) -> None:
    names = rungs.split()
    assert [rules.rung(n, patience).value for n in range(1, len(names) + 1)] == names


@pytest.mark.parametrize("patience", range(1, 11))
def test_no_rung_follows_itself_and_a_person_is_reached(patience: int) -> None:
    found = [rules.rung(n, patience) for n in range(1, patience + 2)]
    assert all(first is not second for first, second in pairwise(found))
    assert found[patience - 1] is rules.Rung.OFFER_PERSON
    assert patience == 1 or found[patience - 2] is rules.Rung.KEYS


@pytest.mark.parametrize(
    ("sure", "awaited", "intent", "doubtful"),
    [
        (0.1, "free", "chitchat", True),
        (0.3, "free", "chitchat", False),
        (0.5, "free", "goodbye", False),  # asked about, not dropped
        (0.5, "pin", "goodbye", True),  # the form would be gone
        (0.7, "pin", "goodbye", False),
        (0.3, "pin", "chitchat", False),
        (0.1, "pin", "inform_digits", False),  # the check digit tells
        (0.1, "free", "policy", False),  # the last answer may tell
    ],
)
def test_what_was_hardly_understood_is_no_intent(
    sure: float, awaited: str, intent: str, doubtful: bool
) -> None:
    assert rules.Turn(sure, awaited).is_doubtful(intent, LIMITS) is doubtful


def test_what_comes_without_a_surety_is_certain() -> None:
    for metadata in (None, {}, {"heard_before": "…"}):
        turn = rules.Turn.of(metadata)
        assert (turn.sure, turn.given(0.1, 0.1), turn.heard) == (1.0, 1.0, 1.0)


# How sure


def hypothesis(
    heard: float = 0.8,
    understood: float = 0.9,
    intent: str = "policy/x",
    text: str = "失业金怎么领",
    second: float = 0.02,
    digits: str = "",
) -> Hypothesis:
    return Hypothesis(text, heard, intent, understood, digits, second)


SURE = hypothesis()


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return surety.load("whisper")


@pytest.mark.parametrize(
    "worse",
    [
        hypothesis(heard=0.5),
        hypothesis(understood=0.5),
        hypothesis(text="领"),
    ],
)
def test_everything_that_speaks_against_it_makes_it_less_sure(
    calibration: Calibration, worse: Hypothesis
) -> None:
    assert calibration.judge(worse, "free").sure < calibration.judge(SURE, "free").sure


def test_being_out_of_scope_counts_as_it_was_calibrated(calibration: Calibration) -> None:
    """For or against: the better callers are heard, the surer it is."""
    outside, inside = (
        calibration.judge(each, "free") for each in (hypothesis(intent="out_of_scope"), SURE)
    )
    assert outside.words - inside.words == pytest.approx(calibration._words["foreign"])
    assert outside.sure != inside.sure


def test_a_close_rival_makes_it_no_surer(calibration: Calibration) -> None:
    close = calibration.judge(hypothesis(second=0.6), "free")
    assert close.sure <= calibration.judge(SURE, "free").sure


def test_a_badly_heard_turn_that_classifies_well_is_not_sure(calibration: Calibration) -> None:
    limits = settings.load().confidence
    loud, typed = hypothesis(0.9, 0.97), hypothesis(1.0, 0.97)
    faint = hypothesis(0.35, 0.97)
    assert calibration.judge(typed, "free").sure >= limits.accept
    assert calibration.judge(loud, "free").sure >= limits.accept
    assert calibration.judge(faint, "free").sure < limits.accept


def test_a_number_is_judged_by_how_it_was_heard_not_by_the_classifier(
    calibration: Calibration,
) -> None:
    def sure(heard: float, understood: float, digits: str, awaited: Expecting = "pin") -> float:
        one = hypothesis(heard, understood, "chitchat", "一三五七九零", digits=digits)
        return calibration.judge(one, awaited).sure

    assert sure(0.8, 0.1, "135790") == sure(0.8, 0.9, "135790")
    assert sure(0.8, 0.9, "135790") > sure(0.4, 0.9, "135790")
    assert sure(0.8, 0.9, "135790") >= sure(0.8, 0.9, "13579")
    # 查余额 instead of a number is no number heard badly
    assert sure(0.8, 0.99, "") == sure(0.8, 0.99, "", "free") > sure(0.8, 0.5, "")


def test_the_actions_compute_from_the_metadata_what_the_client_does(
    calibration: Calibration,
) -> None:
    for one in (SURE, hypothesis(0.5, 0.3, second=0.25), hypothesis(1.0, 0.999, second=0.0)):
        told = calibration.judge(one, "choice")
        turn = rules.Turn.of({"surety": json.loads(json.dumps(told.metadata()))})
        assert turn.awaited == "choice"
        assert turn.given(one.understood, one.second) == pytest.approx(told.sure, abs=1e-3)
        assert turn.heard >= turn.sure - 1e-3


def test_an_engine_never_calibrated_is_not_believed() -> None:
    other = surety.load("parakeet")
    faint, loud = hypothesis(heard=0.1), hypothesis(heard=0.9)
    assert other.judge(faint, "free").sure == other.judge(loud, "free").sure


@pytest.mark.parametrize("content", [None, "{", "{}", '{"coefficients": {"other": {"words": {}}}}'])
def test_a_broken_calibration_is_one_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "calibration.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="run `hotline bench asr --calibrate`") as failure:
        surety.load("whisper", file)
    assert "\n" not in str(failure.value)


# Fitting


def turns(count: int, hearing: float = 1.0) -> list[Judged]:
    """Callers of whom half are heard badly; those are understood half as often."""
    chance = random.Random(5)
    found = []
    for number in range(count):
        bad = number % 2 == 1
        right = chance.random() < (0.45 if bad else 0.9)
        evidence = dict.fromkeys(bench_surety.WORDS, 1.0) | {"heard": -hearing if bad else hearing}
        found.append(Judged(f"{number // 4}", "15dB" if bad else "clean", "free", evidence, right))
    return found


def whole_numbers() -> list[Judged]:
    """Spoken PINs, none of them too short."""
    return [
        Judged(each.text, each.noise, "pin", {"heard": each.evidence["heard"], "whole": 1.0},
               each.right)
        for each in turns(200)
    ]  # fmt: skip


def test_the_fit_finds_the_probabilities_that_there_are() -> None:
    fitted = bench_surety.fit(turns(2000), bench_surety.WORDS)
    assert fitted.sure[::2].mean() == pytest.approx(0.9, abs=0.03)  # those heard well
    assert fitted.sure[1::2].mean() == pytest.approx(0.45, abs=0.05)
    assert sum(count for _, count, _, _ in fitted.bins()) == 2000
    assert fitted.calibration_error < 0.02
    assert fitted.brier < 0.2


def test_a_rival_never_speaks_for_having_understood() -> None:
    """Chance has it here that those with a close rival were understood more often."""
    found = turns(400)
    for each in found:
        each.evidence["margin"] = 0.1 if each.right else 2.0
    fitted = bench_surety.fit(found, bench_surety.WORDS)
    assert fitted.coefficients["margin"] == 0.0
    assert fitted.coefficients["heard"] > 0.5


def test_what_was_left_out_of_a_fit_is_what_it_is_measured_on() -> None:
    """Each text has a sound of its own and is understood by chance: nothing can be learned."""
    chance = random.Random(1)
    found = [
        Judged(f"{n}", "clean", "free", {"heard": chance.gauss(0, 1)}, chance.random() < 0.5)
        for n in range(60)
    ]
    assert bench_surety.fit(found, ["heard"]).brier >= 0.24


def test_too_little_is_not_fitted() -> None:
    for few in (turns(10), [t for t in turns(200) if t.right]):
        with pytest.raises(ConfigError, match="too few to calibrate"):
            bench_surety.fit(few, bench_surety.WORDS)


def test_a_calibration_is_written_read_and_leaves_the_other_engines_alone(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    for engine, hearing in (("vosk", 1.0), ("whisper", 2.0)):
        found = bench_surety.calibrate(engine, [*turns(400, hearing), *whole_numbers()])
        bench_surety.write(found, file)
    loud, faint = hypothesis(heard=0.9), hypothesis(heard=0.2)
    for engine in ("vosk", "whisper"):
        read = surety.load(engine, file)
        assert read.judge(loud, "free").sure > read.judge(faint, "free").sure
        assert read.judge(loud, "pin").sure > read.judge(faint, "pin").sure
    weights = json.loads(file.read_text())["coefficients"]
    assert weights["vosk"]["words"]["heard"] > weights["whisper"]["words"]["heard"]
    assert weights["other"]["words"]["heard"] == 0.0
    figures = bench_surety.report(found, settings.load().confidence)
    shares = [row["share"] for row in figures["decisions"] if row["noise"] == "all"]
    assert sum(shares) == pytest.approx(1)
    assert "15dB" in bench_surety.table(figures)


def test_what_was_the_same_in_all_turns_keeps_its_coefficient(tmp_path: Path) -> None:
    """Every number came whole: what a short one would have meant is known from before."""
    file = tmp_path / "calibration.json"
    file.write_text(surety.FILE.read_text("utf-8"), "utf-8")
    before = json.loads(file.read_text("utf-8"))["coefficients"]["whisper"]["digits"]
    found = bench_surety.calibrate("whisper", [*turns(400), *whole_numbers()])
    assert found.digits.unlearned == {"whole": 1.0}
    bench_surety.write(found, file)
    after = json.loads(file.read_text("utf-8"))["coefficients"]["whisper"]["digits"]
    assert after["whole"] == before["whole"] > 0
    assert after["constant"] + after["whole"] == pytest.approx(
        found.digits.coefficients["constant"]
    )


# On record


class Rows:
    """What would be written."""

    def __init__(self) -> None:
        self.turns: list[TurnRow] = []

    def started(self, call: CallRow) -> None: ...

    def turn(self, turn: TurnRow) -> None:
        self.turns.append(turn)

    def ended(self, call: CallRow) -> None: ...


async def test_the_turn_is_kept_with_what_was_decided_and_seen_live() -> None:
    rows, events = Rows(), list[Event]()
    journal = Journal("c1", "sip", "", events.append, rows, Privacy())
    journal.understood(Response(intent="policy/x", sure=0.64, decision="implied"))
    journal.ended("completed")
    assert (rows.turns[0].sure, rows.turns[0].decision) == (0.64, "implied")
    [shown] = [each for each in events if each["event"] == "understood"]
    assert (shown["sure"], shown["decision"]) == (0.64, "implied")


def test_what_is_named_before_an_answer_is_rendered_ahead() -> None:
    rendered = {*setup.card_sentences(), *setup.fixed_sentences(settings.load())}
    for card in policies.load():
        assert set(sentences(card.named)) <= rendered
    assert "您要查养老账户的余额。" in rendered


# Configured


def test_thresholds_and_patience_reach_both_processes(tmp_path: Path) -> None:
    chosen = settings.load(
        overrides=["confidence.accept=0.77", "confidence.effect=0.66", "dialogue.patience=5"]
    )
    for command in (actions_command(chosen, tmp_path), rasa_command(chosen, tmp_path)):
        told = json.loads(command.env["HOTLINE_CONFIDENCE"])
        limits = rules.Thresholds(**told)
        assert (limits.accept, limits.effect) == (0.77, 0.66)
        assert command.env["HOTLINE_PATIENCE"] == "5"


def test_the_defaults_of_the_rules_are_the_configured_ones() -> None:
    assert rules.Thresholds() == rules.Thresholds(**settings.Confidence().model_dump())


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="none is above the next"):
        settings.load(overrides=["confidence.imply=0.95"])
