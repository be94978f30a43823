"""What happened in a call, as it happens: for whoever watches live, and for the records.

Everything that leaves here is masked: no ID number, PIN or phone number gets out.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from assistant.dialogue.dialogue import Keys, Response
from assistant.hearing import Heard
from assistant.observers import CallObserver
from assistant.privacy import mask, mask_caller, mask_unfinished
from assistant.recording import Recording
from assistant.records import CallRow, TurnRow
from assistant.settings import Privacy
from assistant.speech.recognizer import Expecting
from assistant.timeline import MarkName

Event = dict[str, Any]
"""One line of the live view; always has "event", "call" and "at_ms"."""


class Journal:
    """Follows one call. Times in events are milliseconds since the answer."""

    def __init__(
        self,
        call_id: str,
        channel: str,
        caller: str,
        emit: Callable[[Event], None],
        records: CallObserver,
        privacy: Privacy,
        recording: Recording | None = None,
    ) -> None:
        self._call_id = call_id
        self._emit_event = emit
        self._records = records
        self._recording = recording
        self._clock = asyncio.get_running_loop().time
        self._answered = self._clock()
        self._expecting: Expecting = "free"
        self._turns = 0
        self._turn: TurnRow | None = None
        self._voice_ended = self._answered
        now = datetime.now(UTC)
        self._call = CallRow(
            call_id=call_id,
            channel=channel,
            caller=mask_caller(caller, privacy.caller_number),
            started_at=now,
            answered_at=now,
            recording=str(recording.path) if recording else None,
        )
        records.started(self._call)
        self._emit("answered", channel=channel, caller=self._call.caller)
        self._begin("start")

    def expect(self, expecting: Expecting) -> None:
        """The kind of answer awaited: a PIN is neither recorded nor told."""
        self._expecting = expecting
        if self._recording:
            self._recording.muted = expecting == "pin"

    def listening(self) -> None:
        """The hotline has finished speaking, or was interrupted, and waits for the caller."""
        self._emit("listening")

    def heard(self, heard: Heard) -> None:
        """The caller has said or keyed something."""
        row = self._begin("keys" if isinstance(heard.said, Keys) else "speech", heard.voice_ended)
        row.latencies["endpoint_ms"] = self._since_voice(heard.endpoint)
        row.latencies["recognised_ms"] = self._since_voice(heard.recognised)
        for mark in heard.marks:
            self._mark(mark.name, mark.at, self._masked(mask_unfinished(mark.text)))
        self._mark("final", heard.recognised)
        if isinstance(heard.said, Keys):
            row.said = self._masked(heard.said.digits)
            self._emit("keyed", digits=row.said)
            return
        row.said = self._masked(heard.said.text)
        row.alternatives = [
            {"text": self._masked(each.text), "confidence": round(each.confidence, 3)}
            for each in heard.said.alternatives
        ]
        self._emit(
            "caller",
            text=row.said,
            confidence=heard.said.confidence,
            endpoint_ms=row.latencies["endpoint_ms"],
            recognised_ms=row.latencies["recognised_ms"],
        )

    def silent(self, times: int) -> None:
        """The caller was expected to speak and did not."""
        self._begin("silence")
        self._emit("silent", times=times)

    def understood(self, response: Response) -> None:
        """The dialogue has decided what to say."""
        row = self._current()
        row.intent, row.confidence = response.intent, response.confidence
        row.sure, row.decision = response.sure, response.decision
        row.latencies["understood_ms"] = self._since_voice(self._clock())
        self._mark("understood")
        self._emit(
            "understood",
            intent=response.intent,
            confidence=response.confidence,
            sure=response.sure,
            decision=response.decision,
            ms=row.latencies["understood_ms"] - row.latencies.get("recognised_ms", 0),
        )

    def speaking(self, text: str) -> None:
        """The first sound of `text` leaves for the caller."""
        row = self._current()
        answer_ms = None
        if "first_audio_ms" not in row.latencies:
            answer_ms = row.latencies["first_audio_ms"] = self._since_voice(self._clock())
        row.replies.append(mask(text))
        self._mark("first_audio")
        self._emit("hotline", text=mask(text), answer_ms=answer_ms)

    def spoken(self) -> None:
        """What was being said has been heard to its end."""
        self._mark("playback_end")

    def interrupted(self, text: str, heard: str) -> None:
        """The caller has cut `text` short after hearing `heard`."""
        self._current().heard = mask(heard)
        self._mark("barge_in")
        self._emit("interrupted", text=mask(text), heard=mask(heard))

    def ended(self, outcome: str) -> None:
        """The call is over."""
        self._finish_turn()
        self._call.ended_at, self._call.outcome = datetime.now(UTC), outcome
        self._records.ended(self._call)
        self._emit("ended", outcome=outcome)

    def _begin(self, kind: str, voice_ended: float | None = None) -> TurnRow:
        self._finish_turn()
        self._voice_ended = self._clock() if voice_ended is None else voice_ended
        start_ms = self._ms(self._voice_ended)
        self._turn = TurnRow(self._call_id, self._turns, kind=kind, start_ms=start_ms)
        self._turns += 1
        return self._turn

    def _current(self) -> TurnRow:
        return self._turn or self._begin("start")

    def _mark(self, name: MarkName, at: float | None = None, text: str = "") -> None:
        mark = {"mark": name, "at_ms": self._ms(self._clock() if at is None else at)}
        self._current().timeline.append(mark | ({"text": text} if text else {}))

    def _finish_turn(self) -> None:
        if self._turn:
            self._turn.end_ms = self._ms(self._clock())
            self._turn.timeline.sort(key=itemgetter("at_ms"))
            self._records.turn(self._turn)
            self._turn = None

    def _masked(self, text: str) -> str:
        return "＊" * 6 if self._expecting == "pin" and text else mask(text)

    def _since_voice(self, at: float) -> int:
        return round((at - self._voice_ended) * 1000)

    def _ms(self, at: float) -> int:
        return round((at - self._answered) * 1000)

    def _emit(self, event: str, **values: Any) -> None:
        at_ms = self._ms(self._clock())
        self._emit_event({"event": event, "call": self._call_id, "at_ms": at_ms, **values})
