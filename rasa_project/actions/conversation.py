"""Repeating, asking back, and what "yes" or "the first one" refers to."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.events import ActionExecuted, SlotSet, UserUttered
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions.cards import cards
from actions.items import Item, Listing, listing, noun, places, points_back, rest
from actions.understanding import meant

Events = list[dict[str, Any]]

CERTAIN_ENOUGH_TO_HANG_UP = 0.7
"""A misheard question must not end the call: asking once more costs two seconds."""

LOUDEST_DB = 12
"""And as much the other way; beyond it a voice is distorted, and hardly louder."""

VOLUME_STEP_DB = 6
"""Less is hardly noticed."""

MOST_TURNS_BACK = 6
"""Nobody asks again for what was told longer ago."""

SAYS_AGAIN = frozenset(["go_on", "repeat", "slower", "faster", "louder", "softer"])
"""After these what was cut off before has been said."""

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


@dataclass
class Turn:
    """What the hotline told in one turn."""

    text: str
    heard: int
    """How many characters of it the caller has heard."""
    intent: str
    """What the caller had said before it."""
    controls: dict[str, Any] = field(default_factory=dict)
    """What was awaited and offered at its end."""
    last: str = ""
    """Its last message."""

    @property
    def closing(self) -> str:
        """The question with which it ended; empty where it ended with none."""
        return rest(self.text, len(self.text) - 1) if self.text.endswith("？") else ""


def told(tracker: Tracker) -> Iterator[Turn]:
    """What was told in the turns before the caller's latest words, the latest first.

    A call tells how much of it was heard; in text all of it was.
    """
    said: Events = []
    metadata: dict[str, Any] | None = None
    turns = 0
    for event in reversed(tracker.events):
        if event["event"] == "bot" and turns:
            said.insert(0, event)
        elif event["event"] == "user":
            if turns:
                yield _turn(said, metadata, event["parse_data"]["intent"]["name"] or "")
            turns += 1
            if turns > MOST_TURNS_BACK:
                return
            said, metadata = [], (event.get("metadata") or {}).get("told")


_KEPT = ("expect", "suggest", "protected")


def _turn(said: Events, metadata: dict[str, Any] | None, intent: str) -> Turn:
    texts = [event["text"] for event in said if event.get("text")]
    text = "".join(texts)
    controls: dict[str, Any] = {}
    for event in said:
        custom = (event.get("data") or {}).get("custom") or {}
        controls |= {key: custom[key] for key in _KEPT if key in custom}
    whole = {"text": text, "heard": len(text)} if metadata is None else metadata
    return Turn(whole["text"], whole["heard"], intent, controls, texts[-1] if texts else "")


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
            custom = (event.get("data") or {}).get("custom") or {}
            if "speed" in custom or "volume" in custom:
                continue
            if event.get("text"):
                dispatcher.utter_message(text=event["text"])
            if custom:
                dispatcher.utter_message(json_message=custom)
        return []


class ActionLouder(Action):
    """Speaks louder from here on, or says that it cannot."""

    def name(self) -> str:
        return "action_louder"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        return _change_volume(dispatcher, tracker, VOLUME_STEP_DB)


class ActionSofter(Action):
    """Speaks softer from here on, or says that it cannot."""

    def name(self) -> str:
        return "action_softer"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        return _change_volume(dispatcher, tracker, -VOLUME_STEP_DB)


def _change_volume(dispatcher: CollectingDispatcher, tracker: Tracker, step_db: int) -> Events:
    before = tracker.get_slot("volume") or 0
    volume = max(-LOUDEST_DB, min(LOUDEST_DB, before + step_db))
    if volume == before:
        response = "utter_loudest" if step_db > 0 else "utter_softest"
    else:
        response = "utter_louder" if step_db > 0 else "utter_softer"
    dispatcher.utter_message(response=response, json_message={"volume": volume})
    return [SlotSet("volume", volume)]


class ActionReferBack(Action):
    """The second one, the last one, the one just said: tells that one again."""

    def name(self) -> str:
        return "action_refer_back"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        text = tracker.latest_message.get("text") or ""
        offered = suggestions(tracker)
        asked = places(text)
        chooses = len(offered) > 1 and not points_back(text) and asked and 0 < asked[0] <= 2
        if chooses and not _in_form(tracker):
            return as_if_said(offered[asked[0] - 1])
        if not tell_again(dispatcher, tracker) and not _in_form(tracker):
            dispatcher.utter_message(response="utter_nothing_to_repeat")
        return []


def tell_again(dispatcher: CollectingDispatcher, tracker: Tracker) -> bool:
    """Tell the items that the caller asks for; False where nothing with items was told."""
    text = tracker.latest_message.get("text") or ""
    for number, turn in enumerate(told(tracker)):
        if found := listing(turn.text, turn.heard, noun(text)):
            all_there = _tell_items(dispatcher, found, turn, places(text))
            if all_there and not _in_form(tracker):
                _close(dispatcher, turn, is_latest=number == 0)
            return True
    return False


def _tell_items(
    dispatcher: CollectingDispatcher, found: Listing, turn: Turn, asked: list[int]
) -> bool:
    """Tell them; False where one was not there, which asks the caller for another."""
    all_there = True
    known = found.heard(turn.heard) or found.items
    for place in asked:
        if place > len(found.items) or -place > len(known):
            all_there = False
            dispatcher.utter_message(
                response="utter_no_such_item", count=len(found.items), place=abs(place)
            )
        elif place > 0:
            _tell(dispatcher, found, found.items[place - 1], "utter_item", place)
        elif place == -1 and len(known) == len(found.items):
            _tell(dispatcher, found, known[-1], "utter_last_item")
        else:
            _tell(dispatcher, found, known[place], "utter_item_just_said")
    if not asked:
        _tell(dispatcher, found, known[-1], "utter_item_just_said")
    return all_there


def _tell(
    dispatcher: CollectingDispatcher, found: Listing, item: Item, response: str, place: int = 0
) -> None:
    if found.sentence:
        dispatcher.utter_message(response=response, item=item.text, place=place)
    else:
        dispatcher.utter_message(text=item.text)


def _close(dispatcher: CollectingDispatcher, turn: Turn, *, is_latest: bool) -> None:
    """What is next: to hear the rest, or what was asked before."""
    if rest(turn.text, turn.heard):
        dispatcher.utter_message(response="utter_go_on")
    elif is_latest and turn.closing:
        dispatcher.utter_message(text=turn.closing, json_message=turn.controls)
    else:
        dispatcher.utter_message(response="utter_anything_else")


class ActionGoOn(Action):
    """Goes on from the sentence in which the hotline was cut off."""

    def name(self) -> str:
        return "action_go_on"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        in_form = _in_form(tracker)
        for turn in told(tracker):
            left = rest(turn.text, turn.heard)
            if in_form:  # its question is asked again anyway
                left = left.removesuffix(turn.last)
            if left:
                controls = None if in_form else turn.controls
                dispatcher.utter_message(text=left, json_message=controls)
                return []
            if turn.intent in SAYS_AGAIN or turn.intent == "ask_detail":
                break
        else:
            if tracker.get_slot("card") and not in_form:
                return as_if_said("ask_detail")
        if not in_form:
            dispatcher.utter_message(response="utter_all_said")
        return []


def _in_form(tracker: Tracker) -> bool:
    return bool(tracker.active_loop.get("name"))


class ActionTakeSuggestion(Action):
    """Yes, the first one, the second one: does what was offered."""

    def name(self) -> str:
        return "action_take_suggestion"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        offered = suggestions(tracker)
        intent = tracker.latest_message["intent"]["name"]
        text = tracker.latest_message.get("text") or ""
        # Without a choice, or with 刚才说的, the second one is one of the things told.
        refers = intent != "affirm" and places(text) and (len(offered) < 2 or points_back(text))
        if refers and tell_again(dispatcher, tracker):
            return []
        place = 1 if intent == "choose_second" else 0
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
