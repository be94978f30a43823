"""One call as a picture: both voices over time, what was said, how long the caller waited."""

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from numpy.typing import NDArray

from assistant import chinese_font
from assistant.backend.call_tables import CallRecord, TurnRecord
from assistant.call_strip import STAGES, Strip, Utterance, strip
from assistant.channels.channel import Pcm
from assistant.speech.vad import CHUNK_MS, Vad
from assistant.turns import STAY_PROBABILITY

ROW_S = 30.0
"""Seconds of a call in one row."""

WIDTH_IN, ROW_IN, HEAD_IN, DPI = 20.0, 2.3, 0.75, 100
MARGIN_IN = 0.5
"""Beside the rows, and below the last for the time."""

FONT_PT = 9.0
EMS_A_SECOND = (WIDTH_IN - 2 * MARGIN_IN) * DPI / ROW_S / math.ceil(FONT_PT / 72 * DPI)
"""Chinese characters that fit over one second; each takes whole pixels."""

LAST_WESTERN = 0x2E7F
"""The last character before the wide ones of Chinese."""

LINES = 3
"""Of a label; what does not fit ends in an ellipsis."""

SHORTEST_S = 0.8
"""A label gets this much room even where the next one begins sooner."""

QUIET = 1500
"""Peak (16-bit) that fills a lane at least: the noise of a silent line must not look like voice."""

CALLER, HOTLINE, BARGE_IN = "#1f5fa8", "#2e7d46", "#c62828"
STAGE_COLOURS = dict(zip(STAGES, ("#d9d9d9", "#f2c14e", "#f28e2b", "#b07aa1"), strict=True))


@dataclass(frozen=True)
class Sound:
    """A recording: both sides, and where the caller's voice is."""

    caller: Pcm
    hotline: Pcm
    rate: int
    voiced: list[tuple[float, float]]
    """Stretches of the caller's voice, in seconds."""

    @property
    def end(self) -> float:
        """Its length in seconds."""
        return len(self.caller) / self.rate


def listen(recording: Path) -> Sound:
    """Read a stereo recording. Raises OSError or soundfile.LibsndfileError."""
    pcm, rate = soundfile.read(recording, dtype="int16", always_2d=True)
    caller, hotline = pcm[:, 0], pcm[:, -1]
    probabilities = Vad(rate).accept(caller)
    # The edges of each run of voiced chunks.
    voiced = np.diff([0, *(p >= STAY_PROBABILITY for p in probabilities), 0])
    starts, ends = np.flatnonzero(voiced == 1), np.flatnonzero(voiced == -1)
    step = CHUNK_MS / 1000
    stretches = [(float(s) * step, float(e) * step) for s, e in zip(starts, ends, strict=True)]
    return Sound(caller, hotline, rate, stretches)


def draw(call: CallRecord, turns: Sequence[TurnRecord], sound: Sound | None, file: Path) -> None:
    """Write the picture as PNG; without a recording, from the timeline alone.

    Raises OSError when `file` cannot be written.
    """
    shown = strip(turns)
    rows = max(1, math.ceil(max(shown.end, sound.end if sound else 0.0) / ROW_S))
    height = HEAD_IN + rows * ROW_IN + MARGIN_IN
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI)
    FigureCanvasAgg(figure)
    write = _Writer()
    for row in range(rows):
        bottom = MARGIN_IN + (rows - 1 - row) * ROW_IN
        axes = figure.add_axes(
            (
                MARGIN_IN / WIDTH_IN,
                bottom / height,
                1 - 2 * MARGIN_IN / WIDTH_IN,
                (ROW_IN - 0.3) / height,
            )
        )
        _draw_row(axes, shown, sound, row * ROW_S, write)
    _head(figure, call, shown, height, write)
    figure.savefig(file, format="png")


class _Writer:
    """Words that fit, in a font that has them; in pinyin where there is none."""

    def __init__(self) -> None:
        found = chinese_font.find()
        self.font = FontProperties(fname=found, size=FONT_PT) if found else None
        self._spell: Callable[[str], str] = str if found else _pinyin

    def lines(self, words: str, seconds: float) -> str:
        """`words` broken into lines of at most `seconds` on the scale, the rest left out."""
        room = max(seconds, SHORTEST_S) * EMS_A_SECOND
        lines, line, width = [], "", 0.0
        for character in self._spell(words.replace("＊", "*")):
            ems = 1.0 if ord(character) > LAST_WESTERN else 0.6
            if width + ems > room:
                lines.append(line)
                line, width = "", 0.0
            line, width = line + character, width + ems
        lines.append(line)
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], lines[LINES - 1][:-1] + "…"]
        return "\n".join(lines)


def _pinyin(words: str) -> str:
    from pypinyin import Style, lazy_pinyin

    spelt = " ".join(lazy_pinyin(words, style=Style.TONE))
    western = unicodedata.normalize("NFKC", spelt).translate(str.maketrans("。、《》", ".,<>"))
    return "".join(character for character in western if ord(character) <= LAST_WESTERN)


def _draw_row(axes: Axes, shown: Strip, sound: Sound | None, start: float, write: _Writer) -> None:
    """Thirty seconds: the caller above, the hotline below, the waits between them."""
    end = start + ROW_S
    axes.set(xlim=(start, end), ylim=(-2.3, 2.3), yticks=[])
    axes.set_xticks(np.arange(start, end + 1, 5))
    axes.set_xticklabels([f"{int(s) // 60}:{int(s) % 60:02}" for s in axes.get_xticks()])
    axes.tick_params(labelsize=8, colors="#666666", length=2)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
    lanes = ((shown.caller, CALLER, 0.8), (shown.hotline, HOTLINE, -0.8))
    for utterances, colour, middle in lanes:
        axes.axhline(middle, color=colour, linewidth=0.4, alpha=0.5)
        # Under a waveform only a shade: it shows where a PIN was spoken that is not recorded.
        bars = [(each.start, each.end - each.start) for each in utterances]
        axes.broken_barh(bars, (middle - 0.5, 1.0), color=colour, alpha=0.1 if sound else 0.5)
        if sound:
            _waveform(axes, sound, colour, middle, start)
        for each, left, room in _placed(utterances, start, end):
            above = middle > 0
            axes.text(
                left,
                middle + (0.62 if above else -0.62),
                write.lines(each.words, room),
                va="bottom" if above else "top",
                color=colour,
                fontproperties=write.font,
                fontsize=FONT_PT,
                linespacing=1.05,
                clip_on=True,
            )
    if sound:
        axes.broken_barh(
            [(s, e - s) for s, e in sound.voiced if e > start and s < end],
            (0.22, 0.08),
            color=CALLER,
        )
    _waits(axes, shown, start, end)
    for at in shown.barge_ins:
        if start <= at < end:
            axes.plot([at, at], [-1.4, 1.4], color=BARGE_IN, linewidth=1.2)
            axes.text(at, -1.4, "×", color=BARGE_IN, ha="center", va="center", fontsize=12)


def _waveform(axes: Axes, sound: Sound, colour: str, middle: float, start: float) -> None:
    """The envelope of one side, a column a pixel."""
    pcm = sound.caller if colour == CALLER else sound.hotline
    peak = max(QUIET, int(np.percentile(np.abs(pcm.astype(np.int32)), 99.9)) if len(pcm) else 0)
    here = pcm[int(start * sound.rate) : int((start + ROW_S) * sound.rate)]
    step = max(1, int(ROW_S * sound.rate / (WIDTH_IN * DPI)))
    columns = here[: len(here) // step * step].reshape(-1, step)
    if not len(columns):
        return
    x = start + np.arange(len(columns)) * step / sound.rate
    scale = 0.5 / peak
    low: NDArray[np.float64] = np.clip(columns.min(axis=1) * scale, -0.5, 0)
    high: NDArray[np.float64] = np.clip(columns.max(axis=1) * scale, 0, 0.5)
    axes.fill_between(x, middle + low, middle + high, color=colour, linewidth=0.3, alpha=0.8)


def _waits(axes: Axes, shown: Strip, start: float, end: float) -> None:
    """The latency of each answer as a bar of its stages, with the whole in seconds."""
    for wait in shown.waits:
        if wait.end <= start or wait.start >= end:
            continue
        moments = [wait.start, *(at for _, at in wait.stages)]
        for (stage, _), (begin, until) in zip(wait.stages, pairwise(moments), strict=True):
            axes.broken_barh(
                [(begin, max(0.0, until - begin))], (-0.12, 0.24), color=STAGE_COLOURS[stage]
            )
        if start <= wait.end < end:
            axes.text(
                wait.end + 0.06,
                0.0,
                f"{wait.end - wait.start:.2f} s",
                va="center",
                fontsize=8,
                color="#444444",
            )


def _placed(
    utterances: Sequence[Utterance], start: float, end: float
) -> Iterator[tuple[Utterance, float, float]]:
    """Each label of this row, where it begins, and the seconds of room until the next one.

    What goes on into the next row is written in the row that has more of it.
    """
    for each, following in pairwise([*utterances, None]):
        assert each is not None
        begins_here = start <= each.start < end
        here = min(each.end, end) - max(each.start, start)
        elsewhere = each.end - each.start - here
        if here < 0 or not (begins_here or here > 0):
            continue
        if here < elsewhere or (here == elsewhere and not begins_here):
            continue
        left = max(each.start, start)
        until = min(end, following.start - 0.1 if following else end)
        yield each, left, until - left


def _head(figure: Figure, call: CallRecord, shown: Strip, height: float, write: _Writer) -> None:
    started = call.started_at.astimezone()
    waited = [wait.end - wait.start for wait in shown.waits if wait.stages[-1][0] == STAGES[-1]]
    facts = [
        f"call {call.call_id}",
        call.channel,
        f"{started:%Y-%m-%d %H:%M:%S}",
        call.outcome or "lasts",
        f"{len(waited)} answers",
    ]
    if waited:
        facts.append(f"median wait {np.median(waited):.2f} s")
    left = MARGIN_IN / WIDTH_IN
    figure.text(left, 1 - 0.3 / height, "   ".join(facts), fontsize=12, va="center")
    figure.legend(
        handles=[
            Patch(color=CALLER, label="caller (line below: voice activity)"),
            Patch(color=HOTLINE, label="hotline"),
            Patch(color=STAGE_COLOURS["endpoint"], label="wait for the end of speech"),
            Patch(color=STAGE_COLOURS["recognised"], label="recognition"),
            Patch(color=STAGE_COLOURS["understood"], label="dialogue"),
            Patch(color=STAGE_COLOURS["first_audio"], label="to the first sound"),
            Patch(color=BARGE_IN, label="× barge-in"),
        ],
        loc="upper left",
        bbox_to_anchor=(left - 0.004, 1 - 0.42 / height),
        ncols=7,
        fontsize=8,
        frameon=False,
        handlelength=1.2,
    )
