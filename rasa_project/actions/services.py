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
from actions.identity import FRESH, SERVICE_OF_INTENT, is_digression

logger = logging.getLogger(__name__)

Events = list[dict[str, Any]]


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

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        service = SERVICE_OF_INTENT[tracker.latest_message["intent"]["name"]]
        text = tracker.latest_message.get("text") or ""
        chosen = {
            "service": service,
            "service_slots": slots_of(service, text),
            # Of the choice, not of the request: what is tried again is not done twice.
            "request_id": uuid.uuid4().hex,
        }
        if not tracker.active_loop.get("name"):
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
            return [SlotSet("blocked", None), *(SlotSet(slot, FRESH[slot]) for slot in FRESH)]
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
        if intent in ("deny", "no_more"):
            return [SlotSet("confirmed", False)]
        if is_digression(tracker):
            return []
        return [SlotSet("confirmed", True if intent == "affirm" else None)]


class ActionAskConfirmed(Action):
    """Asks what the backend wants confirmed."""

    def name(self) -> str:
        return "action_ask_confirm_form_confirmed"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
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
