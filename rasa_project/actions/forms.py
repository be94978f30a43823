"""A turn inside a form that was hardly understood: it counts as a miss of the form's question."""

from typing import Any

from rasa_sdk import Tracker
from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher

from actions.calculation import missed
from actions.identity import failed

Events = list[dict[str, Any]]


async def missed_in_form(dispatcher: CollectingDispatcher, tracker: Tracker) -> Events:
    """What the form then asks, in other words, and what is counted."""
    form = tracker.active_loop.get("name")
    if form == "calculator_form":
        return await missed(tracker.get_slot("calculation"), dispatcher, tracker)
    if form == "confirm_form":
        return [SlotSet("confirm_misses", (tracker.get_slot("confirm_misses") or 0) + 1)]
    slots = failed(tracker, f"utter_{tracker.get_slot('requested_slot')}_unheard")
    # Only the form's own answer can end it.
    return [SlotSet(name, value) for name, value in slots.items() if name != "blocked"]
