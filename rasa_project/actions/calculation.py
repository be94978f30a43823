"""A calculator's form: asks for one value at a time, takes them in any order, says the result."""

import logging
from typing import Any

from rasa_sdk import Action, FormValidationAction, Tracker
from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions import backend
from actions.apology import apologise
from actions.cards import cards
from actions.conversation import turn_of
from actions.identity import is_digression, keyed_digits
from actions.quantities import MAY_BE_UNKNOWN, MONEY, values
from actions.surety import patience, thresholds

logger = logging.getLogger(__name__)

Events = list[dict[str, Any]]
Calculation = dict[str, Any]
"""name, card, inputs; while it goes on also asked, prompt, misses."""

UNKNOWN = "unknown"

EXPECTED = {
    "born": "date",
    "gender": "choice",
    "post": "choice",
    "wage": "amount",
    "average": "amount",
    "base": "amount",
    "basic": "amount",
    "balance": "amount",
}
"""The kind of answer that is awaited, where it is not free speech."""

_OF_KEYS = {
    "gender": {"1": "男的", "2": "女的"},
    "post": {"1": "管理技术岗", "2": "工人岗", "3": "不清楚"},
}
_UNIT = {
    "year": "年", "months": "年", "carried": "个月", "age": "岁", "index": "成", "grade": "级",
}  # fmt: skip


def as_said(keys: str, asked: str | None) -> str:
    """What a caller would have said who keyed this for the value asked for."""
    if asked in _OF_KEYS:
        return _OF_KEYS[asked].get(keys, "")
    if asked == "born":
        return f"{keys[:4]}年{keys[4:6]}月" if len(keys) in (6, 8) else ""
    return keys + ("块" if asked in MONEY else _UNIT.get(asked or "", ""))


def begun(name: str, card_id: str, inputs: dict[str, str]) -> Calculation:
    """A new calculation with what is known already."""
    return {"name": name, "card": card_id, "inputs": inputs, "asked": None, "misses": 0}


def taken(calculation: Calculation, text: str) -> dict[str, str]:
    """The values in a text that the calculator can use."""
    takes = cards().takes[calculation["name"]]
    found = values(text, calculation.get("asked"))
    return {name: value for name, value in found.items() if name in takes}


def changed(calculation: Calculation, text: str) -> dict[str, str]:
    """The values that a follow-up such as 要是八年呢 changes in a finished calculation."""
    takes = cards().takes[calculation["name"]]
    found = {name: value for name, value in values(text).items() if name in takes}
    for name in calculation["inputs"]:
        if not found and name in values(text, name) and values(text, name)[name] != UNKNOWN:
            found = {name: values(text, name)[name]}
    return found


async def step(
    calculation: Calculation, dispatcher: CollectingDispatcher, tracker: Tracker
) -> Events:
    """Ask the backend what is next, and remember its question or its result."""
    try:
        answer = await backend.calculate(
            calculation["name"], calculation["inputs"], tracker.get_slot("province")
        )
    except backend.BackendUnavailable as error:
        logger.warning("not calculated: %s", error)
        return [*apologise(dispatcher, tracker), SlotSet("calculated", {"told": True})]
    if answer["outcome"] == "done":
        calculation = {**calculation, "asked": None, "misses": 0}
        result = {"spoken": answer["spoken"], "basis": answer["basis"]}
        return [SlotSet("calculation", calculation), SlotSet("calculated", result)]
    if answer["outcome"] == "unfit":
        inputs = {k: v for k, v in calculation["inputs"].items() if k != answer["input"]}
        misses = calculation["misses"] + 1
        calculation = {**calculation, "inputs": inputs, "misses": misses}
        if misses > most_misses():
            return dropped(calculation)
        if misses > 1:
            dispatcher.utter_message(response="utter_value_unfit")
    else:
        misses = 0
    calculation = {
        **calculation,
        "asked": answer["input"],
        "prompt": answer["spoken"],
        "again": in_other_words(answer["input"]) if misses > 1 else None,
    }
    return [SlotSet("calculation", calculation), SlotSet("calculated", None)]


def most_misses() -> int:
    """One more in a row ends the calculation: a person who does not know stays ignorant."""
    return max(patience() - 1, 1)


def in_other_words(asked: str) -> str:
    """The response that asks for a value once more, by voice or by keys."""
    return f"utter_again_{'amount' if asked in MONEY else asked}"


def dropped(calculation: Calculation) -> Events:
    """The caller does not know a value that is needed."""
    return [
        SlotSet("calculation", {**calculation, "asked": None}),
        SlotSet("calculated", {"dropped": True}),
    ]


class ValidateCalculatorForm(FormValidationAction):
    """Takes values from what was said."""

    def name(self) -> str:
        return "validate_calculator_form"

    async def get_validation_events(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        calculation: Calculation = tracker.get_slot("calculation")
        if tracker.get_slot("requested_slot") != "calculated":  # the form begins
            return await step(calculation, dispatcher, tracker)
        text = tracker.latest_message.get("text") or ""
        keys = keyed_digits(tracker)
        if keys is not None:
            text = as_said(keys, calculation["asked"])
        elif turn_of(tracker).heard < thresholds().confirm:
            return await missed(calculation, dispatcher, tracker)
        # 查一下余额 is no answer, though a number might be read out of it.
        if is_digression(tracker) and not taken({**calculation, "asked": None}, text):
            return []
        found = taken(calculation, text)
        if found:
            inputs = {**calculation["inputs"], **found}
            return await step({**calculation, "inputs": inputs, "misses": 0}, dispatcher, tracker)
        if tracker.latest_message["intent"]["name"] == "do_not_know":
            return dropped(calculation)
        return await missed(calculation, dispatcher, tracker)


async def missed(
    calculation: Calculation, dispatcher: CollectingDispatcher, tracker: Tracker
) -> Events:
    """Nothing usable was said: ask again, then go on without the value where that is possible."""
    misses = calculation["misses"] + 1
    asked = calculation["asked"]
    if misses > most_misses():
        return dropped(calculation)
    if misses == most_misses() and asked in MAY_BE_UNKNOWN:
        inputs = {**calculation["inputs"], asked: UNKNOWN}
        return await step({**calculation, "inputs": inputs, "misses": 0}, dispatcher, tracker)
    if misses == most_misses():
        response: str | None = "utter_value_person"
    else:
        dispatcher.utter_message(response="utter_value_unheard")
        # With much patience the first words come back every other time.
        response = in_other_words(asked) if misses % 2 else None
    calculation = {**calculation, "misses": misses, "again": response}
    return [SlotSet("calculation", calculation), SlotSet("calculated", None)]


class ActionAskCalculated(Action):
    """Asks the backend's question."""

    def name(self) -> str:
        return "action_ask_calculator_form_calculated"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        calculation = tracker.get_slot("calculation")
        control: dict[str, Any] = {"expect": EXPECTED.get(calculation["asked"], "free")}
        if response := calculation.get("again"):
            found = domain["responses"][response][0]
            control.update(found["custom"])
            dispatcher.utter_message(text=found["text"], json_message=control)
        else:
            dispatcher.utter_message(text=calculation["prompt"], json_message=control)
        return []


class ActionCalculated(Action):
    """Says the result with its basis; the values stay for a follow-up."""

    def name(self) -> str:
        return "action_calculated"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        result = tracker.get_slot("calculated") or {}
        if result.get("dropped"):
            dispatcher.utter_message(response="utter_calculation_dropped")
        elif "spoken" in result:
            say_result(dispatcher, result)
        return [SlotSet("calculated", None)]


def say_result(dispatcher: CollectingDispatcher, result: dict[str, str]) -> None:
    """The result, its basis, and the next step."""
    dispatcher.utter_message(text=f"{result['spoken']}依据是{result['basis']}。")
    dispatcher.utter_message(response="utter_anything_else")
