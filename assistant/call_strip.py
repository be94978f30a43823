"""What there is to draw of a call, from its turns: who spoke when, waits, interruptions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from assistant.backend.call_tables import TurnRecord

UNHEARD = {"silence": "（没有说话）", "speech": "（没听清）"}
"""What stands for words that were not there, by the kind of the turn."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech of one side; seconds since the answer."""

    start: float
    end: float
    words: str


@dataclass(frozen=True, slots=True)
class Wait:
    """From the caller's last sound to the first of the answer; seconds since the answer."""

    start: float
    stages: tuple[tuple[str, float], ...]
    """endpoint, recognised, understood, first_audio, and when each was reached."""

    @property
    def end(self) -> float:
        """When the answer began, or the last thing that is known."""
        return self.stages[-1][1]


@dataclass(slots=True)
class Strip:
    """One call."""

    caller: list[Utterance] = field(default_factory=list)
    hotline: list[Utterance] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    barge_ins: list[float] = field(default_factory=list)

    @property
    def end(self) -> float:
        """When the last of it was over."""
        spoken = [each.end for each in (*self.caller, *self.hotline)]
        return max([*spoken, *(wait.end for wait in self.waits)], default=0.0)


STAGES = ("endpoint", "recognised", "understood", "first_audio")


def strip(turns: Sequence[TurnRecord]) -> Strip:
    """The turns of a call in order, as they are drawn; those from before timelines, too."""
    found = Strip()
    for turn in turns:
        starts = [mark["at_ms"] for mark in turn.timeline if mark["mark"] == "speech_start"]
        if turn.kind != "start":
            start = min([*starts, turn.start_ms])
            words = turn.said or UNHEARD.get(turn.kind, "")
            words = f"[{words}]" if turn.kind == "keys" else words
            found.caller.append(Utterance(start / 1000, turn.start_ms / 1000, words))
        if turn.kind in ("speech", "keys"):
            reached = tuple(
                (stage, (turn.start_ms + turn.latencies[f"{stage}_ms"]) / 1000)
                for stage in STAGES
                if f"{stage}_ms" in turn.latencies
            )
            if reached:
                found.waits.append(Wait(turn.start_ms / 1000, reached))
        found.hotline += _spoken(turn)
        found.barge_ins += [
            mark["at_ms"] / 1000 for mark in turn.timeline if mark["mark"] == "barge_in"
        ]
    return found


def _spoken(turn: TurnRecord) -> list[Utterance]:
    """The replies of a turn that sounded; what was cut off is shown as far as it was heard."""
    marks = [
        (mark["mark"], mark["at_ms"])
        for mark in turn.timeline
        if mark["mark"] in ("first_audio", "playback_end", "barge_in")
    ]
    begins = [at for name, at in marks if name == "first_audio"]
    if not begins:
        first = turn.start_ms + turn.latencies.get("first_audio_ms", 0)
        words = "".join(turn.replies)
        return [Utterance(first / 1000, turn.end_ms / 1000, words)] if words else []
    ends = {
        begin: end
        for (name, begin), (_, end) in pairwise([*marks, ("", turn.end_ms)])
        if name == "first_audio"
    }
    spoken = [
        Utterance(begin / 1000, ends[begin] / 1000, words)
        for begin, words in zip(begins, turn.replies, strict=False)
    ]
    if turn.heard and marks[-1][0] == "barge_in" and spoken:
        last = spoken[-1]
        spoken[-1] = Utterance(last.start, last.end, f"{turn.heard}——")
    return spoken
