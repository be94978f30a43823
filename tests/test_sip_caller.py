"""Guards the scripted caller: it waits its turn, measures on the wire, and tells the truth.

A stub hotline answers a tone with a tone, so that every figure of the report can be checked against
the recording; the caller runs in a process of its own, as the demo and the bench run it.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from assistant.channels.channel import Key, Pcm
from assistant.channels.sip import SipListener
from assistant.channels.sip_call import SipChannel
from assistant.channels.sip_media import FRAME, RATE
from assistant.channels.sip_script import (
    CallerError,
    Ear,
    load_line,
    load_script,
    speech_end,
)
from tests.test_sip import is_loud, settings, tone

ENDPOINT_FRAMES = 25
"""The stub answers this many silent frames after the caller's last sound."""


@dataclass
class Call:
    """What one run of the caller left behind."""

    code: int
    events: list[dict[str, Any]]
    report: dict[str, Any]
    recording: Path
    complaint: str

    def sound_at(self, side: int, ms: float) -> bool:
        """Whether that side of the recording sounds right after `ms` and not before it."""
        pcm = soundfile.read(self.recording, dtype="int16")[0][:, side]
        at = round(ms * RATE / 1000)
        return is_loud(pcm[at : at + FRAME]) and not is_loud(pcm[at - 2 * FRAME : at - 8])


async def call(folder: Path, script: list[dict[str, Any]], uri: str, *options: str) -> Call:
    """Run the caller's command line."""
    lines, report, recording = folder / "lines.json", folder / "report.json", folder / "call.wav"
    lines.write_text(json.dumps(script), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assistant.channels.sip_caller", uri, "--lines", str(lines),
        "--record", str(recording), "--report", str(report), "--quiet-ms", "400", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, complaint = await asyncio.wait_for(process.communicate(), 60)
    return Call(
        process.returncode or 0,
        [json.loads(line) for line in output.splitlines()],
        json.loads(report.read_text("utf-8")) if report.exists() else {},
        recording,
        complaint.decode(),
    )


class Stub:
    """A hotline that greets at 400 Hz, answers speech at 500 Hz and # at 600 Hz."""

    def __init__(self, answers: int = 99) -> None:
        """After so many answers it hangs up."""
        self.keys = ""
        self.interrupted = False
        self._left = answers

    async def __call__(self, channel: SipChannel) -> None:
        playing = asyncio.create_task(channel.play(tone(400, 0.6)))
        silent, spoken = 0, False
        async for item in channel.frames():
            answer: Pcm | None = None
            if isinstance(item, Key):
                self.keys += item.digit
                answer = tone(600, 0.6) if item.digit == "#" else None
            elif is_loud(item.pcm):
                silent, spoken = 0, True
                if not playing.done():
                    self.interrupted = channel.clear() > 0
            else:
                silent += 1
                if spoken and silent == ENDPOINT_FRAMES:
                    answer, spoken = tone(500, 1.2), False
            if answer is not None:
                playing = asyncio.create_task(channel.play(answer))
                self._left -= 1
            if not self._left:
                await playing
                await channel.drain()
                return


@pytest.fixture
def line(tmp_path: Path) -> str:
    """A recorded line at 22.05 kHz: 0.2 s of nothing, 0.5 s of sound, 0.3 s of nothing."""
    rate = 22050
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(rate // 2) / rate)
    wave = np.concatenate([np.zeros(rate // 5), wave, np.zeros(rate * 3 // 10)])
    soundfile.write(tmp_path / "line.wav", wave, rate)
    return "line.wav"


async def test_each_line_waits_for_its_turn_and_is_measured(tmp_path: Path, line: str) -> None:
    stub = Stub()
    script: list[dict[str, Any]] = [
        {"say": line, "text": "你好"},
        {"keys": "440103#"},
        {"wait_ms": 100},
        {"say": line},
        {"say": line, "interrupt_ms": 300},
    ]
    async with SipListener(settings(), stub) as sip:
        done = await call(tmp_path, script, sip.uri)
    assert (done.code, done.report["status"], done.report["ended_by"]) == (0, 200, "caller")
    assert stub.keys == "440103#"
    assert stub.interrupted
    said, keyed, waited, again, interrupting = done.report["turns"]
    assert waited["answer_ms"] is None
    for turn in (said, again, interrupting):
        assert turn["speech_end_ms"] - turn["started_ms"] == pytest.approx(500, abs=20)
        assert turn["latency_ms"] >= ENDPOINT_FRAMES * 20
        assert turn["latency_ms"] == round(turn["answer_ms"] - turn["speech_end_ms"], 1)
        assert done.sound_at(0, turn["started_ms"])
    for turn in (said, keyed, again, interrupting):
        assert done.sound_at(1, turn["answer_ms"])
    assert said["text"] == "你好"
    assert interrupting["started_ms"] < again["answer_ms"] + 1200  # while it spoke
    kinds = [event["event"] for event in done.events]
    assert kinds[:4] == ["answered", "hotline_spoke", "line_started", "line_ended"]
    assert kinds[-1] == "ended"
    assert kinds.count("answer_started") == 4


async def test_the_hotline_hangs_up(tmp_path: Path, line: str) -> None:
    async with SipListener(settings(), Stub(answers=1)) as sip:
        done = await call(tmp_path, [{"say": line}], sip.uri, "--wait-for-bye")
    assert (done.code, done.report["ended_by"]) == (0, "hotline")


async def test_a_hotline_that_goes_away_leaves_a_line_unanswered(tmp_path: Path, line: str) -> None:
    async with SipListener(settings(), Stub(answers=1)) as sip:
        done = await call(tmp_path, [{"say": line}, {"say": line}, {"say": line}], sip.uri)
    assert (done.code, done.report["ended_by"]) == (1, "hotline")
    assert done.report["turns"][0]["answer_ms"]
    assert len(done.report["turns"]) < done.report["lines"] == 3


async def test_a_refused_call_is_reported(tmp_path: Path, line: str) -> None:
    async with SipListener(settings(), Stub()) as sip:
        sip.accepting = False
        done = await call(tmp_path, [{"say": line}], sip.uri)
    assert (done.code, done.report["status"], done.report["turns"]) == (1, 503, [])
    assert soundfile.info(done.recording).frames == 0


async def test_a_recording_that_is_missing_is_one_line(tmp_path: Path) -> None:
    done = await call(tmp_path, [{"say": "nobody.wav"}], "sip:12333@127.0.0.1:9")
    assert done.code == 2
    assert done.complaint.startswith("caller: ")
    assert "nobody.wav" in done.complaint
    assert "Traceback" not in done.complaint


# -- decisions, without a network ----------------------------------------------------------------


def test_the_ear_tells_onsets_from_gaps_within_speech() -> None:
    ear = Ear()
    sound, silence = np.full(FRAME, 3000, np.int16), np.zeros(FRAME, np.int16)
    late = np.concatenate([silence[: FRAME // 2], sound[: FRAME // 2]])
    for frame in [silence] * 5 + [late] + [sound] * 5 + [silence] * 5 + [sound] + [silence] * 20:
        ear.accept(frame)
    assert ear.onsets_ms == [110.0]  # a gap of 100 ms is within speech
    assert ear.silent_ms == pytest.approx(400, abs=1)
    ear.accept(sound)
    assert ear.onset_after(111) == ear.now_ms - 20
    assert ear.onset_after(ear.now_ms) is None


@pytest.mark.parametrize("noise", [0.0, 8000 / np.sqrt(2) / 10 ** (15 / 20)])
def test_speech_ends_before_the_noise_that_follows_it(noise: float) -> None:
    speech = np.concatenate([tone(300, 1), np.zeros(RATE, np.int16)])
    rng = np.random.default_rng(7)
    noisy = np.clip(speech + noise * rng.standard_normal(speech.size), -32768, 32767)
    assert speech_end(noisy.astype(np.int16)) == pytest.approx(RATE, abs=FRAME)


def test_a_line_of_any_rate_and_width_is_heard_from_its_first_sample(tmp_path: Path) -> None:
    stereo = np.zeros((48000, 2))
    stereo[24000:] = 0.5
    soundfile.write(tmp_path / "stereo.flac", stereo, 48000)
    pcm = load_line(tmp_path / "stereo.flac")
    assert pcm.size == pytest.approx(RATE // 2, abs=FRAME)
    assert pcm[0]


@pytest.mark.parametrize(
    "text",
    ["", "{}x", "[1]", '[{"shout": "a.wav"}]', "[{}]", '[{"keys": "1", "wait_ms": 5}]'],
)
def test_a_script_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "lines.json").write_text(text)
    with pytest.raises(CallerError, match=r"lines\.json"):
        load_script(tmp_path / "lines.json")


@pytest.mark.parametrize("samples", [[], [0.0] * 100])
def test_a_line_of_silence_is_refused(tmp_path: Path, samples: list[float]) -> None:
    soundfile.write(tmp_path / "mute.wav", np.array(samples), RATE)
    with pytest.raises(CallerError, match="silence"):
        load_line(tmp_path / "mute.wav")
