"""Repeating, asking back, and what "yes" or "the first one" refers to."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.events import ActionExecuted, SlotSet, UserUttered
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions import surety
from actions.cards import cards
from actions.items import Item, Listing, listing, noun, places, points_back, rest
from actions.surety import Cost, Decision, Rung, Turn
from actions.understanding import meant

Events = list[dict[str, Any]]

NOT_UNDERSTOOD = "nlu_fallback"

CORRECTION = re.compile(
    r"^(?:不是|不对|错了|你?听错了?|你?搞错了?|你?弄错了?|不是这个|我不是问这个)+[，,。\s]*"
    r"(?:我)?(?:是|想)*(?:问|说|讲)?的?是?"
)
"""What a caller begins with who was taken wrongly; what comes after it is meant."""

ASKING = frozenset(("confirmed", "asked", "keypad", "person"))
"""Decisions after which the hotline knows no more than before."""
ANSWERED = frozenset(("accepted", "implied"))

HOPEFUL = 0.06
"""A meaning less likely than this is not worth offering."""

COMMONEST = ("ask_account_balance", "ask_contributions")
"""Offered with keys where nothing better is known."""

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
class ToldTurn:
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


def told(tracker: Tracker) -> Iterator[ToldTurn]:
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


def _turn(said: Events, metadata: dict[str, Any] | None, intent: str) -> ToldTurn:
    texts = [event["text"] for event in said if event.get("text")]
    text = "".join(texts)
    controls: dict[str, Any] = {}
    for event in said:
        custom = (event.get("data") or {}).get("custom") or {}
        controls |= {key: custom[key] for key in _KEPT if key in custom}
    whole = {"text": text, "heard": len(text)} if metadata is None else metadata
    return ToldTurn(whole["text"], whole["heard"], intent, controls, texts[-1] if texts else "")


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


def turn_of(tracker: Tracker) -> Turn:
    """What the client has told of the caller's latest words."""
    return Turn.of(tracker.latest_message.get("metadata"))


def decision(tracker: Tracker, cost: Cost) -> Decision:
    """What to do with the caller's latest words."""
    return surety.decide(turn_of(tracker).sure, cost, surety.thresholds())


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
    dispatcher: CollectingDispatcher, found: Listing, turn: ToldTurn, asked: list[int]
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


def _close(dispatcher: CollectingDispatcher, turn: ToldTurn, *, is_latest: bool) -> None:
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
        if intent == "affirm" and len(offered) > 1:  # yes, but which?
            ask_back(dispatcher, tracker, domain, offered)
            return []
        if place < len(offered):
            return as_if_said(offered[place])
        dispatcher.utter_message(response="utter_anything_else")
        return []


class ActionNothingMore(Action):
    """ "No, thanks": turns an offer down, or ends the call when nothing was offered."""

    def name(self) -> str:
        return "action_nothing_more"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        # A misheard question must not end the call: asking once more costs two seconds.
        certain = decision(tracker, Cost.LEAVE) is Decision.ACCEPT
        ends = certain and not suggestions(tracker)
        dispatcher.utter_message(response="utter_goodbye" if ends else "utter_anything_else")
        return []


class ActionGoodbye(Action):
    """Ends the call; asks first where something else may have been said."""

    def name(self) -> str:
        return "action_goodbye"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        certain = decision(tracker, Cost.LEAVE) is Decision.ACCEPT
        dispatcher.utter_message(response="utter_goodbye" if certain else "utter_confirm_goodbye")
        return []


class ActionDeny(Action):
    """No: to an offer, or to what the caller was taken for, which is then asked otherwise."""

    def name(self) -> str:
        return "action_deny"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        if decided_before(tracker) in ASKING - {"person"} and suggestions(tracker) != ["goodbye"]:
            ask_back(dispatcher, tracker, domain, guesses_before(tracker), after_no=True)
        else:
            dispatcher.utter_message(response="utter_ask_again")
        return []


class ActionNoise(Action):
    """Sounds and no words: once the hotline says that it listens, then it asks back."""

    def name(self) -> str:
        return "action_noise"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        ask_or_ask_back("utter_only_noise", dispatcher, tracker, domain)
        return []


class ActionNumber(Action):
    """A number that nobody has asked for."""

    def name(self) -> str:
        return "action_number"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        ask_or_ask_back("utter_no_number_needed", dispatcher, tracker, domain)
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
        ask_or_ask_back("utter_no_number_needed", dispatcher, tracker, domain)
        return []


class ActionAskBack(Action):
    """The dialogue does not know what to do next: two guesses, an example, a person."""

    def name(self) -> str:
        return "action_ask_back"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        ask_back(dispatcher, tracker, domain, guesses_of(tracker.latest_message))
        return []


def ask_back(
    dispatcher: CollectingDispatcher,
    tracker: Tracker,
    domain: DomainDict,
    guesses: list[str],
    *,
    after_no: bool = False,
) -> None:
    """Not understood: other words each time, then keys, then a person; see `surety.rung`."""
    misses = misses_in_a_row(tracker)
    wrong = refused(tracker)
    named = [guess for guess in guesses if guess not in wrong and topic(guess, domain)]
    match surety.rung(misses, surety.patience()):
        case Rung.GUESSES if len(named) > 1:
            ask_which(dispatcher, domain, *named[:2], response="utter_ask_back")
        case Rung.GUESSES:
            dispatcher.utter_message(response="utter_example")
        case Rung.EXAMPLE:
            response = "utter_after_no" if after_no else "utter_ask_back_again"
            dispatcher.utter_message(response=response)
        case Rung.KEYS:
            response = "utter_keypad_after_no" if after_no else "utter_keypad"
            offered = [*named, *(each for each in COMMONEST if each not in [*named, *wrong])]
            if len(offered) > 1:
                ask_which(dispatcher, domain, *offered[:2], response=response)
            else:
                dispatcher.utter_message(response="utter_after_no")
        case Rung.OFFER_PERSON:
            dispatcher.utter_message(response="utter_offer_human")
        case Rung.HAND_OVER:
            dispatcher.utter_message(response="utter_hand_over")
            tell_person(dispatcher)
        case Rung.GIVE_UP:
            number = os.environ.get("HOTLINE_HUMAN_NUMBER", "")
            dispatcher.utter_message(response="utter_give_up", number=number)


def ask_or_ask_back(
    response: str, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
) -> None:
    """Ask this at the first miss; at the next ones ask back."""
    if misses_in_a_row(tracker) == 1:
        dispatcher.utter_message(response=response)
    else:
        ask_back(dispatcher, tracker, domain, guesses_of(tracker.latest_message))


def guesses_of(message: dict[str, Any]) -> list[str]:
    """What a message may have meant, best first."""
    ranking = message.get("intent_ranking") or []
    return [each["name"] for each in ranking if each["confidence"] >= HOPEFUL]


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
        first=wish(first, domain),
        second=wish(second, domain),
        first_intent=first,
        second_intent=second,
    )


def ask_whether(dispatcher: CollectingDispatcher, domain: DomainDict, meaning: str) -> None:
    """Is it this?"""
    dispatcher.utter_message(
        response="utter_confirm", first=wish(meaning, domain), first_intent=meaning
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


def misses_in_a_row(tracker: Tracker) -> int:
    """How many turns, this one included, were not understood or had to be asked back."""
    count = 1
    decided: str | None = None
    current = True
    for event in reversed(tracker.events):
        if event["event"] == "bot":
            decided = _decided(event) or decided
        elif event["event"] == "user":
            if not current:
                missed = event["parse_data"]["intent"]["name"] == NOT_UNDERSTOOD
                if decided in ANSWERED or not (missed or decided in ASKING):
                    break
                count += 1
            current, decided = False, None
    return count


def _decided(event: dict[str, Any]) -> str | None:
    """What a message of the hotline says was decided."""
    custom = (event.get("data") or {}).get("custom") or {}
    return custom.get("decided")


def decided_before(tracker: Tracker) -> str | None:
    """What was decided in the turn before the caller's latest words."""
    return next((found for event in last_said(tracker) if (found := _decided(event))), None)


def guesses_before(tracker: Tracker) -> list[str]:
    """What the words before the caller's latest ones may have meant, best first."""
    turns = [event for event in tracker.events if event["event"] == "user"]
    return guesses_of(turns[-2]["parse_data"]) if len(turns) > 1 else []


def refused(tracker: Tracker) -> set[str]:
    """What the caller was taken to mean since the last answer, and has denied."""
    found: set[str] = set()
    denied = corrected = False
    for event in reversed(tracker.events):
        if event["event"] == "user":
            corrected = bool(CORRECTION.match(event.get("text") or ""))
            denied = corrected or event["parse_data"]["intent"]["name"] == "deny"
        elif event["event"] == "bot":
            custom = (event.get("data") or {}).get("custom") or {}
            if custom.get("decided") in ANSWERED:
                return found | {custom["means"]} if corrected and "means" in custom else found
            if denied:
                found |= set(custom.get("suggest", ()))
    return found


def topic(meaning: str, domain: DomainDict) -> str:
    """How the hotline names a meaning; empty for those it does not offer."""
    if card := cards().get(meaning):
        return card.title
    responses = domain["responses"].get(f"utter_topic_{meaning}")
    return responses[0]["text"] if responses else ""


def wish(meaning: str, domain: DomainDict) -> str:
    """The same after 您是想: a card is asked about, business is done."""
    return f"问{topic(meaning, domain)}" if cards().get(meaning) else topic(meaning, domain)


def tell_person(dispatcher: CollectingDispatcher) -> None:
    """Hand over to a person, or tell the number."""
    target = os.environ.get("HOTLINE_HUMAN_TARGET", "")
    if target:
        dispatcher.utter_message(response="utter_transfer", target=target)
    else:
        number = os.environ.get("HOTLINE_HUMAN_NUMBER", "")
        dispatcher.utter_message(response="utter_human_number", number=number)


class ActionHuman(Action):
    """Hands the caller to a person, or tells the number where that cannot be done."""

    def name(self) -> str:
        return "action_human"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        if decision(tracker, Cost.LEAVE) is Decision.ACCEPT:
            tell_person(dispatcher)
        else:
            ask_whether(dispatcher, domain, "human")
        return []
