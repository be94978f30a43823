"""Client of the served Rasa model: its stock REST channel and its parser."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, Self, assert_never, get_args

import aiohttp

from assistant.dialogue import surety
from assistant.dialogue.dialogue import (
    CallStarted,
    Control,
    DialogueUnavailable,
    HangUp,
    Keys,
    ListenFor,
    Reply,
    Response,
    Said,
    Silence,
    Speed,
    Told,
    Transfer,
    Volume,
)
from assistant.dialogue.hypotheses import SOUND_WEIGHT, Hypothesis, candidates, choose, joint
from assistant.dialogue.surety import Surety
from assistant.settings import Settings
from assistant.speech.recognizer import Alternative, Expecting, Transcript
from assistant.speech.repair import mend

MOST_KEYS = 32
"""More keys than this in one turn are a stuck key or a flood; no number is that long."""

LONGEST_REPAIRED = 60
"""Characters; the repair takes a millisecond for each, and long texts are understood anyway."""

REPAIRED_WEIGHT = 0.8
"""A repaired text must be understood somewhat better than what was heard."""

REPAIRED = REPAIRED_WEIGHT**SOUND_WEIGHT
"""What a repaired text can reach at most: nothing is repaired that was understood better."""

_SILENCE = ("no_input", "no_input_again", "no_input_last")


ACCEPTED = "accepted"
"""What became of a turn of which the actions say nothing else."""


@dataclass(frozen=True, slots=True)
class Meant:
    """What was meant and, where words were heard, how sure that is."""

    chosen: Hypothesis
    surety: Surety | None = None


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A turn understood before it was certain."""

    said: Transcript
    parsing: asyncio.Task[Meant]


class RasaDialogue:
    """A Dialogue that asks Rasa; use it with `async with`."""

    def __init__(
        self, settings: Settings, repair: Callable[[str], str] = mend, engine: str = "whisper"
    ) -> None:
        """`repair` puts the homophones of a text right, in a thread; `engine` is who listens.

        Raises ConfigError where the calibration cannot be read.
        """
        self._repair = repair
        self._calibration = surety.load(engine)
        self._url = settings.rasa_url
        self._timeout_s = settings.dialogue.timeout_s
        self._awaited: dict[str, Expecting] = {}
        self._ahead: dict[str, _Ahead] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        # The first repair builds its language model, for seconds that no caller should wait.
        await asyncio.to_thread(self._repair, "您好")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        """The replies to what was said; raises DialogueUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await self._taken(call_id, said)
                meant = taken.chosen
                message = {
                    "sender": call_id,
                    "message": meant.text,
                    "metadata": _metadata(taken, told),
                }
                messages = await self._request("POST", "/webhooks/rest/webhook", message)
        except TimeoutError:
            raise DialogueUnavailable(
                f"Rasa at {self._url} gave no answer in {self._timeout_s:g} s; "
                "see its log, or raise dialogue.timeout_s"
            ) from None
        replies = to_replies(messages)
        self._awaited[call_id] = _awaited(replies)
        return Response(
            replies,
            meant.intent,
            meant.understood,
            "" if meant.text.startswith("/") else meant.text,
            [card for message in messages for card in message.get("custom", {}).get("cards", [])],
            taken.surety.sure if taken.surety else None,
            _decision(taken, messages),
        )

    def anticipate(self, call_id: str, said: Transcript) -> None:
        """Parse ahead what may be the next turn; Rasa's parser changes no conversation."""
        self._drop_ahead(call_id)
        expecting = self._awaited.get(call_id, "free")
        parsing = asyncio.create_task(self._meant(said, expecting))
        parsing.add_done_callback(_retrieved)
        self._ahead[call_id] = _Ahead(said, parsing)

    async def forget(self, call_id: str) -> None:
        """The call is over: drop the conversation, here and in Rasa. Never raises."""
        self._awaited.pop(call_id, None)
        self._drop_ahead(call_id)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._request("PUT", f"/conversations/{call_id}/tracker/events", [])
        except (DialogueUnavailable, TimeoutError):
            return  # a Rasa that is down has lost the conversation anyway

    async def meant(self, said: Transcript, expecting: Expecting) -> Meant:
        """What the words mean, and how sure that is; changes no conversation."""
        return await self._meant(said, expecting)

    async def _taken(self, call_id: str, said: Said) -> Meant:
        """What was meant; known already where it was anticipated in just these words."""
        ahead = self._ahead.get(call_id)
        try:
            if ahead and ahead.said == said:
                return await ahead.parsing
        finally:
            self._drop_ahead(call_id)
        return await self._meant(said, self._awaited.get(call_id, "free"))

    def _drop_ahead(self, call_id: str) -> None:
        if ahead := self._ahead.pop(call_id, None):
            ahead.parsing.cancel()

    async def _meant(self, said: Said, expecting: Expecting) -> Meant:
        match said:
            case CallStarted():
                return _command("start")
            case Keys(digits):
                pressed = "".join(key for key in digits if key in "0123456789*")[:MOST_KEYS]
                return _command("keyed", {"digits": pressed})
            case Silence(times):
                return _command(_SILENCE[min(max(times, 1), len(_SILENCE)) - 1])
            case Transcript():
                heard = candidates(said)
                if not heard:
                    return _command(_SILENCE[0])
                parsed = await asyncio.gather(*[self._parse(each) for each in heard])
                if expecting == "free" and joint(choose(parsed), heard[0].confidence) < REPAIRED:
                    parsed += await self._repaired(heard)
                chosen = choose(parsed, expecting)
                return Meant(chosen, self._calibration.judge(chosen, expecting))
            case _:
                assert_never(said)

    async def _repaired(self, heard: list[Alternative]) -> list[Hypothesis]:
        """One more hypothesis: the best one with its homophones put right."""
        best = heard[0]
        if len(best.text) > LONGEST_REPAIRED:
            return []
        text = await asyncio.to_thread(self._repair, best.text)
        if any(each.text == text for each in heard):
            return []
        return [await self._parse(Alternative(text, best.confidence * REPAIRED_WEIGHT))]

    async def _parse(self, heard: Alternative) -> Hypothesis:
        parsed = await self._request("POST", "/model/parse", {"text": heard.text})
        confidence = parsed["intent"]["confidence"]
        others = (
            each["confidence"]
            for each in parsed.get("intent_ranking", ())
            if each["name"] != parsed["meaning"]
        )
        second = max(others, default=0.0)
        return Hypothesis(
            heard.text, heard.confidence, parsed["meaning"], confidence, parsed["digits"], second
        )

    async def _request(self, method: str, path: str, body: object) -> Any:
        if self._session is None:
            raise RuntimeError("RasaDialogue is used outside its `async with` block")
        try:
            async with self._session.request(method, self._url + path, json=body) as response:
                if response.status == 200:
                    return await response.json()
                problem = f"HTTP {response.status}"
        except (aiohttp.ClientError, json.JSONDecodeError) as error:
            problem = str(error) or type(error).__name__
        raise DialogueUnavailable(
            f"Rasa at {self._url} cannot be asked: {problem}; `hotline serve` starts it"
        )


def to_replies(messages: list[dict[str, Any]]) -> list[Reply]:
    """Rasa's messages as replies; a control and the mark of what is protected belong to the text
    before them."""
    replies: list[Reply] = []
    for message in messages:
        if text := message.get("text", "").strip():
            replies.append(Reply(text))
        custom = message.get("custom", {})
        if replies and custom.get("protected") is True:
            replies[-1] = replace(replies[-1], protected=True)
        control = to_control(custom)
        if control is None:
            continue
        if replies and replies[-1].control is None:
            replies[-1] = replace(replies[-1], control=control)
        else:
            replies.append(Reply("", control))
    return replies


def to_control(custom: dict[str, Any]) -> Control | None:
    """The control that a message's `custom` part asks for; None when there is none."""
    match custom:
        case {"hangup": True}:
            return HangUp()
        case {"transfer": str(target)}:
            return Transfer(target)
        case {"speed": int() | float() as factor}:
            return Speed(factor)
        case {"volume": int() | float() as db}:
            return Volume(db)
        case {"expect": kind} if kind in get_args(Expecting):
            return ListenFor(kind)
    return None


def _metadata(meant: Meant, told: Told | None) -> dict[str, Any]:
    """What the actions are told beside the words."""
    sure = {"surety": meant.surety.metadata()} if meant.surety else {}
    return sure | ({"told": asdict(told)} if told else {})


def _decision(meant: Meant, messages: list[dict[str, Any]]) -> str:
    """What became of a turn in which words were heard."""
    told = (message.get("custom", {}).get("decided") for message in messages)
    return next((each for each in told if each), ACCEPTED) if meant.surety else ""


def _retrieved(parsing: asyncio.Task[Meant]) -> None:
    """A fault is respond()'s to tell; nobody may ever ask for the parse."""
    if not parsing.cancelled():
        parsing.exception()


def _awaited(replies: list[Reply]) -> Expecting:
    for reply in reversed(replies):
        if isinstance(reply.control, ListenFor):
            return reply.control.expecting
    return "free"


def _command(intent: str, entities: dict[str, str] | None = None) -> Meant:
    """A message that Rasa takes as this intent, without understanding any text."""
    text = f"/{intent}{json.dumps(entities) if entities else ''}"
    return Meant(Hypothesis(text, 1.0, intent, 1.0))
