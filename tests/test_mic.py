"""Guards the microphone door: a conversation through real sound devices (PulseAudio null sinks).

One null sink is the line on which the recorded caller speaks, and its monitor is the microphone;
the other is the speaker, and its monitor is what a person in the room would hear.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant.settings import ROOT
from tests.conftest import Stack

READY_S = 90
"""Loading both engines on a busy machine."""

ANSWER_S = 45


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A sound server of our own; yields the environment that leads to it."""
    if not shutil.which("pulseaudio"):
        pytest.fail("pulseaudio is missing: apt install pulseaudio libportaudio2")
    socket = tmp_path / "sound"  # "pulse" is a folder that every client makes here
    env = os.environ | {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PULSE_SERVER": f"unix:{socket}",
    }
    server = subprocess.Popen(
        [
            "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1",
            "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1",
            "-L", "module-null-sink sink_name=line",
            "-L", "module-null-sink sink_name=speaker",
        ],
        env=env,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(["pactl", "set-default-source", "line.monitor"], env)
        _await(["pactl", "set-default-sink", "speaker"], env)
        yield env
    finally:
        server.terminate()
        server.wait(timeout=10)


def _await(command: list[str], env: dict[str, str]) -> None:
    """Run `command` until it succeeds: the server answers before its sinks are there."""
    for _ in range(100):
        result = subprocess.run(command, env=env, capture_output=True, text=True)
        if result.returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"{' '.join(command)}: {result.stderr}")


class Captions:
    """Follows the lines that `hotline mic` prints."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def wait_for(self, words: str, timeout_s: float) -> str:
        """The text from the last match up to `words`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            text = self._log.read_text("utf-8")[self._read :]
            if words in text:
                self._read += text.index(words) + len(words)
                return text
            time.sleep(0.2)
        raise AssertionError(f"no {words!r} in {timeout_s} s; so far:\n{self._log.read_text()}")


def say(recording: str, env: dict[str, str]) -> None:
    """The caller speaks into the line."""
    file = ROOT / "audio" / "demo" / recording
    subprocess.run(["paplay", "--device=line", str(file)], env=env, check=True, timeout=60)


def test_a_two_turn_conversation(sound: dict[str, str], stack: Stack, tmp_path: Path) -> None:
    room = tmp_path / "room.wav"
    log = tmp_path / "captions"
    real_home = {
        "HOTLINE_CACHE": os.environ.get("HOTLINE_CACHE", str(Path.home() / ".cache/hotline"))
    }
    with log.open("w") as captions_file:
        listener = subprocess.Popen(
            ["parec", "--device=speaker.monitor", "--file-format=wav", str(room)], env=sound
        )
        mic = subprocess.Popen(
            [sys.executable, "-m", "assistant.cli", *stack.arguments, "mic"],
            env=sound | real_home,
            stdout=captions_file,
            stderr=subprocess.STDOUT,
        )
        try:
            captions = Captions(log)
            # Half-duplex: the caller speaks when the hotline listens.
            captions.wait_for("listening", READY_S)
            say("1.wav", sound)
            captions.wait_for("15年", ANSWER_S)
            captions.wait_for("listening", ANSWER_S)
            say("5.wav", sound)
            captions.wait_for("→ goodbye", ANSWER_S)
            captions.wait_for("completed", ANSWER_S)
            assert mic.wait(timeout=20) == 0
        finally:
            for process in (mic, listener):
                process.terminate()
                process.wait(timeout=20)
    heard, rate = soundfile.read(room, dtype="int16", always_2d=True)
    loud = np.abs(heard[:, 0]) > 500
    assert loud.sum() / rate > 3, "the room heard the hotline for some seconds"


def test_no_sound_device_is_one_clear_line(tmp_path: Path) -> None:
    # A home without a sound server, and ALSA sees no card on a server.
    env = os.environ | {"PULSE_SERVER": f"unix:{tmp_path}/none", "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "assistant.cli", "mic"],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    line = result.stderr.strip().splitlines()[-1]
    assert "sound device" in line
    assert "hotline mic --devices" in line
    assert "Traceback" not in result.stderr
