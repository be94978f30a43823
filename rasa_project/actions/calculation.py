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
from actions.identity import is_digression
from actions.quantities import values

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
        if misses > MOST_MISSES:
            return dropped(calculation)
    calculation = {**calculation, "asked": answer["input"], "prompt": answer["spoken"]}
    return [SlotSet("calculation", calculation), SlotSet("calculated", None)]


MOST_MISSES = 2
"""The third miss in a row ends the calculation: a person who does not know stays ignorant."""


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
    if misses > MOST_MISSES:
        return dropped(calculation)
    calculation = {**calculation, "misses": misses}
    if misses == MOST_MISSES:
        inputs = {**calculation["inputs"], calculation["asked"]: UNKNOWN}
        # Where it is needed after all, the refusal is this miss.
        going_on = {**calculation, "inputs": inputs, "misses": misses - 1}
        return await step(going_on, dispatcher, tracker)
    dispatcher.utter_message(response="utter_value_unheard")
    return [SlotSet("calculation", calculation), SlotSet("calculated", None)]


class ActionAskCalculated(Action):
    """Asks the backend's question."""

    def name(self) -> str:
        return "action_ask_calculator_form_calculated"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        calculation = tracker.get_slot("calculation")
        expected = EXPECTED.get(calculation["asked"], "free")
        dispatcher.utter_message(text=calculation["prompt"], json_message={"expect": expected})
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
