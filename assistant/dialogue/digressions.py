"""What a caller may say inside a form: Rasa's rules, made from one list for every form."""

from collections.abc import Iterator
from typing import Any

import yaml

from assistant.dialogue.serving import RASA_PROJECT

FILE = RASA_PROJECT / "actions" / "digressions.yml"

FORMS = ("identity_form", "confirm_form", "calculator_form")


def rules() -> dict[str, Any]:
    """Rasa's training data: a rule for each digression inside each form."""
    listed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {"version": "3.1", "rules": [rule for form in FORMS for rule in _inside(form, listed)]}


def _inside(form: str, listed: dict[str, dict[str, str]]) -> Iterator[dict[str, Any]]:
    for intent, action in listed["stay"].items():
        steps: list[dict[str, Any]] = [{"intent": intent}, {"action": action}]
        yield _rule(form, intent, [*steps, {"action": form}, {"active_loop": form}])
    for intent, action in listed["leave"].items():
        over: list[dict[str, Any]] = [{"action": "action_deactivate_loop"}, {"active_loop": None}]
        yield _rule(form, intent, [{"intent": intent}, *over, {"action": action}])


def _rule(form: str, intent: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rule": f"{intent} in {form}", "condition": [{"active_loop": form}], "steps": steps}
