"""What a text means: read from the caller's turn, or asked of Rasa for a part of it."""

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import aiohttp

from actions.cards import INTENT, PREFIX

TIMEOUT_S = 1.5
"""A parse takes some 15 ms; the caller waits."""


@dataclass(frozen=True)
class Meaning:
    """One entry of the ranking: an intent, or policy/<card>."""

    name: str
    confidence: float

    @property
    def is_card(self) -> bool:
        """Whether it is a policy question."""
        return self.name.startswith(PREFIX)


@dataclass(frozen=True)
class Understood:
    """A text, its intent, and the meanings it may have, best first."""

    text: str
    intent: str
    ranking: list[Meaning]

    @property
    def cards(self) -> list[Meaning]:
        """The policy questions among the meanings."""
        return [meaning for meaning in self.ranking if meaning.is_card]

    def confidence(self, name: str) -> float:
        """How likely this meaning is; 0 where it is not among the best."""
        return next((each.confidence for each in self.ranking if each.name == name), 0.0)


def understood(message: dict[str, Any]) -> Understood:
    """From what Rasa says of a message."""
    ranking = [
        Meaning(each["name"], each["confidence"]) for each in message.get("intent_ranking") or []
    ]
    return Understood(message.get("text") or "", message["intent"]["name"] or "", ranking)


async def understand(text: str) -> Understood:
    """Ask Rasa; understands nothing when it does not answer in time."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    url = os.environ["HOTLINE_RASA_URL"] + "/model/parse"
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json={"text": text}) as response,
        ):
            response.raise_for_status()
            parsed = understood(await response.json())
            return Understood(text, parsed.intent, parsed.ranking)
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, KeyError):
        return Understood(text, "nlu_fallback", [])


def meant(name: str) -> dict[str, Any]:
    """A message that means this, as the classifier would tell it."""
    intent = {"name": INTENT if name.startswith(PREFIX) else name, "confidence": 1.0}
    return {
        "text": "",
        "intent": intent,
        "entities": [],
        "intent_ranking": [{"name": name, "confidence": 1.0}],
        "meaning": name,
    }
