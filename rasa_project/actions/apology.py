"""What a caller hears when the backend cannot be reached: never silence."""

from typing import Any

from rasa_sdk import Tracker
from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher


def apologise(dispatcher: CollectingDispatcher, tracker: Tracker) -> list[dict[str, Any]]:
    """Say so and offer something; the second time in a row, a person."""
    failures = tracker.get_slot("backend_failures") or 0
    dispatcher.utter_message(
        response="utter_backend_still_down" if failures else "utter_backend_down"
    )
    return [SlotSet("backend_failures", failures + 1)]
