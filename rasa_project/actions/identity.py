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
from actions.digits import hear, id_number_is_valid, is_number

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

VOICE_FAILURES_BEFORE_KEYS = 2
KEY_FAILURES_BEFORE_PERSON = 2

DIGRESSIONS = yaml.safe_load((Path(__file__).parent / "digressions.yml").read_text("utf-8"))

ANSWERED_BY_RULES = frozenset(
    [*DIGRESSIONS["stay"], *DIGRESSIONS["leave"], *SERVICE_OF_INTENT, "no_more"]
)
"""Intents for which the rules say what happens inside a form."""

Slots = dict[str, Any]
Events = list[dict[str, Any]]

FRESH: Slots = {"heard": None, "next_prompt": None, "voice_failures": 0, "key_failures": 0}
"""Nothing heard yet, nothing failed yet."""


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
        if awaited == "id_number":
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


def not_a_number(tracker: Tracker) -> Slots:
    """The awaited number was not given: a digression, an "hm?", or words nobody understood."""
    awaited = tracker.get_slot("requested_slot")
    if is_digression(tracker):
        return {}
    if tracker.latest_message["intent"]["name"] in ("nlu_fallback", "inform_digits"):
        return failed(tracker, f"utter_{awaited}_unheard")
    return {awaited: None}


def failed(tracker: Tracker, prompt: str) -> Slots:
    """One more failure of the awaited number: what to say next, and what to count."""
    slot = tracker.get_slot("requested_slot")
    way = "voice_failures" if keyed_digits(tracker) is None else "key_failures"
    failures = (tracker.get_slot(way) or 0) + 1
    if way == "voice_failures" and failures >= VOICE_FAILURES_BEFORE_KEYS:
        prompt = f"utter_{slot}_keys"
    if way == "key_failures" and failures >= KEY_FAILURES_BEFORE_PERSON:
        prompt = f"utter_{slot}_person"
    return {slot: None, way: failures, "next_prompt": prompt}


class ActionAskIdNumber(Action):
    """Asks for the ID number in the words that fit what went before."""

    def name(self) -> str:
        return "action_ask_identity_form_id_number"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        count = len(tracker.get_slot("heard") or "")
        dispatcher.utter_message(
            response=tracker.get_slot("next_prompt") or "utter_ask_id_number",
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
            response=tracker.get_slot("next_prompt") or "utter_ask_pin",
            last_four=tracker.get_slot("id_number")[-4:],
        )
        return [SlotSet("next_prompt", "utter_pin_again")]
