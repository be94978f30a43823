"""Who is calling: 18-digit ID number, then 6-digit PIN, spoken or keyed."""

import logging
from pathlib import Path
from typing import Any

import yaml
from rasa_sdk import Action, FormValidationAction, Tracker
from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions import backend
from actions.apology import apologise
from actions.conversation import decided_before, last_said, turn_of
from actions.digits import hear, id_number_is_valid, is_number
from actions.surety import Decision, Rung, patience, rung, thresholds

logger = logging.getLogger(__name__)

SERVICE_OF_INTENT = {
    "ask_account_balance": "q_pension_account",
    "ask_contributions": "q_contribution_detail",
    "ask_pension_payments": "q_pension_payment",
    "ask_case_status": "q_case_progress",
    "report_lost_card": "card_lost",
}

ID_LENGTH = 18
PIN_LENGTH = 6

DIGRESSIONS = yaml.safe_load((Path(__file__).parent / "digressions.yml").read_text("utf-8"))

ANSWERED_BY_RULES = frozenset(
    [*DIGRESSIONS["stay"], *DIGRESSIONS["leave"], *SERVICE_OF_INTENT, "no_more"]
)
"""Intents for which the rules say what happens inside a form."""

Slots = dict[str, Any]
Events = list[dict[str, Any]]

FRESH: Slots = {"heard": None, "next_prompt": None, "voice_failures": 0, "key_failures": 0}
"""Nothing heard yet, nothing failed yet."""


PERSON = "person"
"""Why the form is blocked: the number is not to be had, and a person takes over."""


def is_digression(tracker: Tracker) -> bool:
    """Whether the caller has said something else than an answer to the form's question."""
    intent = tracker.latest_message["intent"]["name"] or ""
    return intent in ANSWERED_BY_RULES


def keyed_digits(tracker: Tracker) -> str | None:
    """What was keyed in this turn; a star stands for X. None when the caller spoke."""
    if tracker.latest_message["intent"]["name"] != "keyed":
        return None
    digits = next(tracker.get_latest_entity_values("digits"), "")
    return str(digits).replace("*", "X")


class ValidateIdentityForm(FormValidationAction):
    """Takes ID number and PIN from what was said or keyed, and proves them to the backend."""

    def name(self) -> str:
        return "validate_identity_form"

    async def required_slots(
        self,
        domain_slots: list[str],
        dispatcher: CollectingDispatcher,
        tracker: Tracker,
        domain: DomainDict,
    ) -> list[str]:
        return [] if tracker.get_slot("blocked") else domain_slots

    async def get_validation_events(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        # The stock method keeps only the form's own slots; an answer changes the counters too.
        awaited = tracker.get_slot("requested_slot")
        if awaited and wrong_matter(tracker):
            dispatcher.utter_message(response="utter_ask_again")
            changed = {"blocked": True, "service": None}
        elif awaited == "id_number":
            changed = self._take_id_number(tracker)
        elif awaited == "pin":
            changed = await self._take_pin(dispatcher, tracker)
        else:  # the form begins: what was said is the question that led here
            changed = {}
        return [SlotSet(slot, value) for slot, value in changed.items()]

    def _take_id_number(self, tracker: Tracker) -> Slots:
        keyed = keyed_digits(tracker)
        text = tracker.latest_message.get("text") or ""
        if keyed is None and not is_number(text):
            return not_a_number(tracker)
        before = tracker.get_slot("heard") or ""
        number = keyed if keyed is not None else hear(text, before, ID_LENGTH)
        if id_number_is_valid(number):
            return {**FRESH, "id_number": number}
        if len(number) == ID_LENGTH:
            # Kept, so that "the last four are …" can still correct it.
            return {"heard": number, **failed(tracker, "utter_id_number_wrong")}
        if keyed is not None:
            return {"heard": None, **failed(tracker, "utter_id_number_wrong")}
        if len(number) > ID_LENGTH:
            return {"heard": None, **failed(tracker, "utter_id_number_long")}
        if len(number) > len(before):
            return {"heard": number, "next_prompt": "utter_id_number_part", "id_number": None}
        return {"heard": number or None, **failed(tracker, "utter_id_number_unheard")}

    async def _take_pin(self, dispatcher: CollectingDispatcher, tracker: Tracker) -> Slots:
        keyed = keyed_digits(tracker)
        text = tracker.latest_message.get("text") or ""
        if keyed is None and not is_number(text):
            return not_a_number(tracker)
        pin = keyed if keyed is not None else hear(text, length=PIN_LENGTH)
        if len(pin) != PIN_LENGTH or not pin.isdigit():
            return failed(tracker, "utter_pin_unheard")
        if keyed is None and turn_of(tracker).sure < thresholds().digits:
            return failed(tracker, "utter_pin_doubtful")  # a wrong one counts against the caller
        return await self._verify(dispatcher, tracker, pin)

    async def _verify(self, dispatcher: CollectingDispatcher, tracker: Tracker, pin: str) -> Slots:
        id_number = tracker.get_slot("id_number")
        try:
            answer = await backend.verify_identity(tracker.sender_id, id_number, pin)
        except backend.BackendUnavailable as error:
            logger.warning("identity could not be checked: %s", error)
            sorry = {event["name"]: event["value"] for event in apologise(dispatcher, tracker)}
            return {"blocked": True, **sorry}
        if answer["outcome"] == "verified":
            return {
                **FRESH,
                "identified": True,
                "token": answer["token"],
                "id_number": id_number[-4:],
                "pin": "verified",
            }
        dispatcher.utter_message(text=answer["spoken"])
        if answer["outcome"] == "locked":
            dispatcher.utter_message(response="utter_anything_else")
            return {"blocked": True, "id_number": None}
        return failed(tracker, "utter_pin_again")


def wrong_matter(tracker: Tracker) -> bool:
    """Whether the caller says no to the business that was just named to them."""
    denies = tracker.latest_message["intent"]["name"] == "deny"
    return denies and decided_before(tracker) == Decision.IMPLY


def not_a_number(tracker: Tracker) -> Slots:
    """The awaited number was not given: a digression, an "hm?", or words nobody understood."""
    awaited = tracker.get_slot("requested_slot")
    if is_digression(tracker):
        return {}
    agrees = tracker.latest_message["intent"]["name"] == "affirm"
    if agrees and f"utter_{awaited}_again" not in prompts_before(tracker):
        return {awaited: None}
    return failed(tracker, f"utter_{awaited}_unheard")


def failed(tracker: Tracker, prompt: str) -> Slots:
    """One more failure of the awaited number: what to say next, and what to count.

    By voice the keys come next, then a person; by keys the person. What has just been said is not
    said again.
    """
    slot = tracker.get_slot("requested_slot")
    keyed = keyed_digits(tracker) is not None
    way = "key_failures" if keyed else "voice_failures"
    failures = (tracker.get_slot(way) or 0) + 1
    # The first failure by keys is as the first one of two.
    reached = rung(failures, 2 if keyed else patience())
    if keyed and failures == 1:
        reached = Rung.GUESSES
    prompts = {
        Rung.KEYS: f"utter_{slot}_keys",
        Rung.OFFER_PERSON: f"utter_{slot}_person",
        Rung.HAND_OVER: None,
        Rung.GIVE_UP: None,
    }
    chosen = prompts.get(reached, prompt)
    said = prompts_before(tracker)
    if chosen in said:
        chosen = f"utter_{slot}_keys" if chosen == prompt and not keyed else None
    if chosen is None or chosen in said:
        return {way: failures, "blocked": PERSON}
    return {slot: None, way: failures, "next_prompt": chosen}


def prompts_before(tracker: Tracker) -> list[str]:
    """The responses that the hotline said in the turn before the caller's latest words."""
    return [(each.get("metadata") or {}).get("utter_action", "") for each in last_said(tracker)]


def next_prompt(tracker: Tracker, first: str) -> str:
    """What to ask with; going on is not said twice in the same words."""
    prompt = str(tracker.get_slot("next_prompt") or first)
    repeated = prompt.endswith("_again") and prompt in prompts_before(tracker)
    return prompt.replace("_again", "_still") if repeated else prompt


class ActionAskIdNumber(Action):
    """Asks for the ID number in the words that fit what went before."""

    def name(self) -> str:
        return "action_ask_identity_form_id_number"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        count = len(tracker.get_slot("heard") or "")
        dispatcher.utter_message(
            response=next_prompt(tracker, "utter_ask_id_number"),
            count=count,
            missing=ID_LENGTH - count,
        )
        return [SlotSet("next_prompt", "utter_id_number_again")]


class ActionAskPin(Action):
    """Asks for the PIN; reads back no more than the last four digits of the ID number."""

    def name(self) -> str:
        return "action_ask_identity_form_pin"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        dispatcher.utter_message(
            response=next_prompt(tracker, "utter_ask_pin"),
            last_four=tracker.get_slot("id_number")[-4:],
        )
        return [SlotSet("next_prompt", "utter_pin_again")]
