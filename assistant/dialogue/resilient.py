"""A dialogue that always answers: an apology and an offer while the model is down."""

import logging

from assistant.dialogue.dialogue import (
    Dialogue,
    DialogueUnavailable,
    HangUp,
    ListenFor,
    Reply,
    Response,
    Said,
    Told,
    Transfer,
)
from assistant.settings import Settings
from assistant.speech.recognizer import Transcript

logger = logging.getLogger(__name__)

FIRST = "对不起，系统暂时没有反应。请您稍等一下，再说一遍要办的事。"
AGAIN = "系统还没有恢复，让您久等了。您可以接着等，可以过一会儿再打来，也可以拨打人工电话{number}。"
TRANSFER = "系统一时恢复不了，现在为您转接人工，请稍等。"
FAREWELL = "系统一时恢复不了，请您拨打人工电话{number}，或者过一会儿再打来。对不起，再见。"


def prompts(settings: Settings) -> list[str]:
    """All that it can say, for rendering ahead of the calls."""
    number = settings.call.human_number
    return [text.format(number=number) for text in (FIRST, AGAIN, TRANSFER, FAREWELL)]


class ResilientDialogue:
    """Asks another dialogue, and never raises; counts each call's failures in a row."""

    def __init__(self, dialogue: Dialogue, settings: Settings) -> None:
        self._dialogue = dialogue
        self._patience = settings.dialogue.patience
        self._number = settings.call.human_number
        self._target = settings.call.human_target
        self._failures: dict[str, int] = {}

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        """The dialogue's answer, or an apology with an offer."""
        try:
            response = await self._dialogue.respond(call_id, said, caller, told)
        except DialogueUnavailable as error:
            logger.warning("call %s: %s", call_id, error)
            return Response([self._apology(call_id)])
        if not any(reply.text for reply in response.replies):
            logger.warning("call %s: the dialogue had nothing to say", call_id)
            return Response(
                [self._apology(call_id)], response.intent, response.confidence, response.said
            )
        self._failures.pop(call_id, None)
        return response

    def anticipate(self, call_id: str, said: Transcript) -> None:
        """Understand ahead what may be the next turn."""
        self._dialogue.anticipate(call_id, said)

    async def forget(self, call_id: str) -> None:
        """The call is over."""
        self._failures.pop(call_id, None)
        await self._dialogue.forget(call_id)

    def _apology(self, call_id: str) -> Reply:
        failures = self._failures[call_id] = self._failures.get(call_id, 0) + 1
        if failures >= self._patience and self._target:
            return Reply(TRANSFER, Transfer(self._target))
        if failures >= self._patience:
            return Reply(FAREWELL.format(number=self._number), HangUp())
        if failures == 1:
            return Reply(FIRST, ListenFor())
        return Reply(AGAIN.format(number=self._number), ListenFor())
