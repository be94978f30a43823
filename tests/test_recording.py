"""Guards the recording of a call: both sides aligned, a PIN left out, a full disk survived."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant.recording import Recording

RATE = 8000
FRAME = 160


def frame(value: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.full(FRAME, value, np.int16)


def test_caller_left_hotline_right_and_no_pin(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "calls" / "a.wav", RATE)
    recording.add(frame(100), frame(1))
    recording.muted = True
    recording.add(frame(200), frame(2))
    recording.muted = False
    recording.add(frame(300), frame(3))
    recording.close()
    audio, rate = soundfile.read(recording.path, dtype="int16")
    assert rate == RATE
    assert audio[::FRAME, 0].tolist() == [100, 0, 300]
    assert audio[::FRAME, 1].tolist() == [1, 2, 3]


def test_a_folder_that_cannot_be_made_costs_the_recording_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    recording = Recording(tmp_path / "file" / "a.wav", RATE)
    recording.add(frame(1), frame(1))
    recording.close()
    assert "the call goes on unrecorded" in caplog.text


FILL_THE_DISK = """
import resource, signal, sys, logging, pathlib, numpy as np
from assistant.recording import Recording
logging.basicConfig()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
recording = Recording(pathlib.Path(sys.argv[1]), 8000)
for _ in range(1000):
    recording.add(np.ones(160, np.int16), np.ones(160, np.int16))
recording.close()
print("the call went on")
"""


def test_a_disk_that_fills_up_costs_the_rest_of_the_recording_only(tmp_path: Path) -> None:
    # The limit on a file's size makes the system refuse writes as a full disk does.
    result = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "a.wav")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "the call went on\n"
    assert result.stderr.count("the call goes on unrecorded") == 1
    assert "Traceback" not in result.stderr
    assert len(soundfile.read(tmp_path / "a.wav")[0]) > 10_000, "what was written can be heard"
