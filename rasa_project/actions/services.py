"""What a caller wants done: checked, confirmed where it changes something, and run."""

import logging
import re
import uuid
from collections.abc import Awaitable
from typing import Any

from rasa_sdk import Action, FormValidationAction, Tracker
from rasa_sdk.events import FollowupAction, SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions import backend
from actions.apology import apologise
from actions.conversation import as_if_said, ask_whether, decision
from actions.forms import missed_in_form
from actions.identity import FRESH, PERSON, SERVICE_OF_INTENT, is_digression, keyed_digits
from actions.surety import Cost, Decision, patience

logger = logging.getLogger(__name__)

Events = list[dict[str, Any]]


YES_KEY, NO_KEY, PERSON_KEY = "1", "2", "0"
"""What the keys mean where something is to be confirmed."""


def slots_of(service: str, text: str) -> dict[str, Any]:
    """What the service needs to know besides who calls, as far as the caller has said it."""
    if service == "q_contribution_detail":
        kind = re.search("失业|工伤", text)
        return {"insurance_kind": kind.group() if kind else "养老"}
    if service == "card_lost":
        # By telephone only: a formal report needs the person at a counter.
        return {"lost_kind": "临时挂失"}
    return {}


class ActionChooseService(Action):
    """Remembers which service the caller has asked for."""

    def name(self) -> str:
        return "action_choose_service"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        intent = tracker.latest_message["intent"]["name"]
        service = SERVICE_OF_INTENT[intent]
        in_form = bool(tracker.active_loop.get("name"))
        decided = decision(tracker, Cost.ANSWER)
        if decided not in (Decision.ACCEPT, Decision.IMPLY):
            if in_form:
                return await missed_in_form(dispatcher, tracker)
            ask_whether(dispatcher, domain, intent)
            return [FollowupAction("action_listen")]
        if decided is Decision.IMPLY:
            dispatcher.utter_message(response=f"utter_named_{intent}")
        text = tracker.latest_message.get("text") or ""
        chosen = {
            "service": service,
            "service_slots": slots_of(service, text),
            # Of the choice, not of the request: what is tried again is not done twice.
            "request_id": uuid.uuid4().hex,
        }
        if not in_form:
            chosen.update(FRESH)
        return [SlotSet(slot, value) for slot, value in chosen.items()]


class ActionServe(Action):
    """Runs the chosen service, or leads to its confirmation first."""

    def name(self) -> str:
        return "action_serve"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        if not tracker.get_slot("identified"):
            # Why was said when identity failed.
            fresh = [SlotSet("blocked", None), *(SlotSet(slot, FRESH[slot]) for slot in FRESH)]
            if tracker.get_slot("blocked") != PERSON:
                return fresh
            dispatcher.utter_message(response="utter_hand_over")
            return [*fresh, *as_if_said("human")]
        if tracker.get_slot("service") is None:
            dispatcher.utter_message(response="utter_ask_again")
            return []
        return await attempt(begin(dispatcher, tracker), dispatcher, tracker)


class ValidateConfirmForm(FormValidationAction):
    """Takes yes or no; anything else is asked again or answered by a rule."""

    def name(self) -> str:
        return "validate_confirm_form"

    async def get_validation_events(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        if tracker.get_slot("requested_slot") != "confirmed":
            return []
        intent = tracker.latest_message["intent"]["name"]
        key = keyed_digits(tracker)
        if intent in ("deny", "no_more", "correct_me") or key == NO_KEY:
            return [SlotSet("confirmed", False)]
        if is_digression(tracker):
            return []
        certain = decision(tracker, Cost.EFFECT) is Decision.ACCEPT
        if key == YES_KEY or (intent == "affirm" and certain):
            return [SlotSet("confirmed", True)]
        # A yes that was not heard well changes nothing.
        misses = (tracker.get_slot("confirm_misses") or 0) + 1
        over = misses >= patience() or key == PERSON_KEY
        misses = max(misses, patience()) if over else misses
        return [SlotSet("confirm_misses", misses), SlotSet("confirmed", False if over else None)]


class ActionAskConfirmed(Action):
    """Asks what the backend wants confirmed; after a miss for a word or a key, in other words."""

    def name(self) -> str:
        return "action_ask_confirm_form_confirmed"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        misses = tracker.get_slot("confirm_misses") or 0
        if misses:
            odd = misses % 2 == 1
            dispatcher.utter_message(
                response="utter_confirm_word_or_key" if odd else "utter_confirm_keys"
            )
        else:
            prompt = tracker.get_slot("confirm_text")
            control = {"expect": "yes_no", "protected": prompt["protected"]}
            dispatcher.utter_message(text=prompt["text"], json_message=control)
        return []


class ActionComplete(Action):
    """Runs the service that was confirmed, or drops it."""

    def name(self) -> str:
        return "action_complete"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        if not tracker.get_slot("confirmed"):
            if (tracker.get_slot("confirm_misses") or 0) >= patience():
                dispatcher.utter_message(response="utter_confirm_person")
                return as_if_said("human")
            dispatcher.utter_message(response="utter_not_confirmed")
            return []
        return await attempt(complete(dispatcher, tracker), dispatcher, tracker)


async def attempt(
    work: Awaitable[Events], dispatcher: CollectingDispatcher, tracker: Tracker
) -> Events:
    """Do what needs the backend; say what is the matter when it cannot be had."""
    try:
        return await work
    except backend.Unauthorized:
        return ask_identity_again(dispatcher)
    except backend.BackendUnavailable as error:
        logger.warning("service not run: %s", error)
        return apologise(dispatcher, tracker)


async def begin(dispatcher: CollectingDispatcher, tracker: Tracker) -> Events:
    """Check the service, and go on to its confirmation or straight to its result."""
    answer = await backend.check(
        tracker.get_slot("service"), tracker.get_slot("service_slots"), tracker.get_slot("token")
    )
    if answer["outcome"] == "refused":
        return refuse(dispatcher, answer)
    if answer.get("confirm"):
        return [
            SlotSet("confirm_text", _prompt(answer)),
            SlotSet("confirmed", None),
            SlotSet("confirm_misses", 0),
            FollowupAction("confirm_form"),
        ]
    return await complete(dispatcher, tracker)


def _prompt(answer: backend.Answer) -> dict[str, Any]:
    # A bureau's own backend need not know the mark.
    return {"text": answer["confirm"], "protected": bool(answer.get("protected"))}


async def complete(dispatcher: CollectingDispatcher, tracker: Tracker) -> Events:
    """Run the service and speak its result."""
    answer = await backend.run(
        tracker.get_slot("service"),
        tracker.get_slot("service_slots"),
        tracker.get_slot("token"),
        tracker.get_slot("request_id"),
    )
    if answer["outcome"] == "refused":
        return refuse(dispatcher, answer)
    dispatcher.utter_message(text=answer["spoken"])
    dispatcher.utter_message(response="utter_anything_else")
    return [SlotSet("backend_failures", 0)]


def refuse(dispatcher: CollectingDispatcher, answer: backend.Answer) -> Events:
    """Speak why the service cannot be had."""
    dispatcher.utter_message(text=answer["spoken"])
    dispatcher.utter_message(response="utter_anything_else")
    return [SlotSet("backend_failures", 0)]


def ask_identity_again(dispatcher: CollectingDispatcher) -> Events:
    """The proof of identity has expired in the middle of the call."""
    dispatcher.utter_message(response="utter_identity_expired")
    return [
        SlotSet("identified", False),
        SlotSet("token", None),
        SlotSet("id_number", None),
        SlotSet("pin", None),
        FollowupAction("identity_form"),
    ]
