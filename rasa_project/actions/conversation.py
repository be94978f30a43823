"""Repeating, asking back, and what "yes" or "the first one" refers to."""

import os
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.events import ActionExecuted, UserUttered
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions.cards import cards
from actions.understanding import meant

Events = list[dict[str, Any]]

CERTAIN_ENOUGH_TO_HANG_UP = 0.7
"""A misheard question must not end the call: asking once more costs two seconds."""

PERSON_KEY = "0"
"""On other hotlines this key leads to a person: people try it."""


def last_said(tracker: Tracker) -> Events:
    """The hotline's own messages in the turn before the caller's latest words."""
    said: Events = []
    turns = 0
    for event in reversed(tracker.events):
        if event["event"] == "user":
            turns += 1
            if turns == 2:
                break
        elif event["event"] == "bot" and turns == 1:
            said.insert(0, event)
    return said


def suggestions(tracker: Tracker) -> list[str]:
    """The intents that the hotline has just offered: one for a yes, two to choose from."""
    for event in reversed(last_said(tracker)):
        custom = (event.get("data") or {}).get("custom") or {}
        if "suggest" in custom:
            return list(custom["suggest"])
    return []


def as_if_said(intent: str) -> Events:
    """Go on as if the caller had expressed this intent."""
    return [ActionExecuted("action_listen"), UserUttered("", meant(intent))]


class ActionRepeat(Action):
    """Says the last turn once more."""

    def name(self) -> str:
        return "action_repeat"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        messages = [event for event in last_said(tracker) if event.get("text")]
        if not messages:
            dispatcher.utter_message(response="utter_nothing_to_repeat")
        for event in last_said(tracker):
            custom = (event.get("data") or {}).get("custom")
            if event.get("text"):
                dispatcher.utter_message(text=event["text"])
            if custom and "speed" not in custom:
                dispatcher.utter_message(json_message=custom)
        return []


class ActionTakeSuggestion(Action):
    """Yes, the first one, the second one: does what was offered."""

    def name(self) -> str:
        return "action_take_suggestion"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        offered = suggestions(tracker)
        place = 1 if tracker.latest_message["intent"]["name"] == "choose_second" else 0
        if place < len(offered):
            return as_if_said(offered[place])
        dispatcher.utter_message(response="utter_anything_else")
        return []


class ActionNothingMore(Action):
    """ "No, thanks": turns an offer down, or ends the call when nothing was offered."""

    def name(self) -> str:
        return "action_nothing_more"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        certain = tracker.latest_message["intent"]["confidence"] >= CERTAIN_ENOUGH_TO_HANG_UP
        ends = certain and not suggestions(tracker)
        dispatcher.utter_message(response="utter_goodbye" if ends else "utter_anything_else")
        return []


class ActionKeyed(Action):
    """A key outside a form: chooses what was offered, or calls a person."""

    def name(self) -> str:
        return "action_keyed"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        digits = str(next(tracker.get_latest_entity_values("digits"), ""))
        offered = suggestions(tracker)
        if digits == PERSON_KEY:
            return as_if_said("human")
        if digits in ("1", "2") and int(digits) <= len(offered):
            return as_if_said(offered[int(digits) - 1])
        dispatcher.utter_message(response="utter_no_number_needed")
        return []


class ActionAskBack(Action):
    """The dialogue does not know what to do next: two guesses, an example, a person."""

    def name(self) -> str:
        return "action_ask_back"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        ranking = tracker.latest_message.get("intent_ranking") or []
        ask_back(dispatcher, tracker, domain, [each["name"] for each in ranking])
        return []


def ask_back(
    dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict, guesses: list[str]
) -> None:
    """Not understood: which of two is meant, then an example, then a person."""
    misses = misses_in_a_row(tracker)
    named = [guess for guess in guesses if topic(guess, domain)]
    if misses >= 3:
        dispatcher.utter_message(response="utter_offer_human")
    elif misses == 2 or len(named) < 2:
        dispatcher.utter_message(response="utter_ask_back_again")
    else:
        ask_which(dispatcher, domain, *named[:2], response="utter_ask_back")


def ask_which(
    dispatcher: CollectingDispatcher,
    domain: DomainDict,
    first: str,
    second: str,
    response: str = "utter_which",
) -> None:
    """Which of two meanings is it?"""
    dispatcher.utter_message(
        response=response,
        first=topic(first, domain),
        second=topic(second, domain),
        first_intent=first,
        second_intent=second,
    )


class ActionAsSaid(Action):
    """Takes the caller's last words once more, now that the form is over."""

    def name(self) -> str:
        return "action_as_said"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        return [ActionExecuted("action_listen"), UserUttered("", dict(tracker.latest_message))]


class ActionCalm(Action):
    """Abuse is met once politely, then with the human desk."""

    def name(self) -> str:
        return "action_calm"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        times = sum(
            event["event"] == "user" and event["parse_data"]["intent"]["name"] == "abuse"
            for event in tracker.events
        )
        if tracker.active_loop.get("name"):
            dispatcher.utter_message(response="utter_calm_in_form")
            return []
        if times > 1:
            dispatcher.utter_message(response="utter_calm_human")
            return as_if_said("human")
        dispatcher.utter_message(response="utter_calm")
        return []


_ASKS_AGAIN = ("utter_ask_back_again", "utter_offer_human")


def misses_in_a_row(tracker: Tracker) -> int:
    """How many turns, this one included, were not understood or had to be asked back."""
    count = 1
    asked = False
    current = True
    for event in reversed(tracker.events):
        if event["event"] == "bot":
            custom = (event.get("data") or {}).get("custom") or {}
            response = (event.get("metadata") or {}).get("utter_action")
            asked = asked or custom.get("expect") == "choice" or response in _ASKS_AGAIN
        elif event["event"] == "user":
            if not current:
                if event["parse_data"]["intent"]["name"] != "nlu_fallback" and not asked:
                    break
                count += 1
            current, asked = False, False
    return count


def topic(meaning: str, domain: DomainDict) -> str:
    """How the hotline names a meaning; empty for those it does not offer."""
    if card := cards().get(meaning):
        return card.title
    responses = domain["responses"].get(f"utter_topic_{meaning}")
    return responses[0]["text"] if responses else ""


class ActionHuman(Action):
    """Hands the caller to a person, or tells the number where that cannot be done."""

    def name(self) -> str:
        return "action_human"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        target = os.environ.get("HOTLINE_HUMAN_TARGET", "")
        if target:
            dispatcher.utter_message(response="utter_transfer", target=target)
        else:
            number = os.environ.get("HOTLINE_HUMAN_NUMBER", "")
            dispatcher.utter_message(response="utter_human_number", number=number)
        return []
