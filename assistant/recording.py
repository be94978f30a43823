"""The stereo recording of a call: caller left, hotline right."""

import logging
import threading
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import soundfile

from assistant.channels.channel import Pcm

log = logging.getLogger(__name__)


class Recording:
    """Writes a call to a WAV file from a thread of its own, so that a slow disk delays nobody.

    A disk that is full or gone ends the recording with one line in the log, never the call.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.muted = False
        """While set, the caller's side is written as silence: a PIN is being spoken."""
        self._rate = rate
        self._frames: SimpleQueue[tuple[Pcm, Pcm] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def add(self, caller: Pcm, hotline: Pcm) -> None:
        """Take one frame of both directions, of the same length and the same moment."""
        self._frames.put((np.zeros_like(caller) if self.muted else caller, hotline))

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish the file; blocks until it is written or `timeout_s` has passed."""
        self._frames.put(None)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(self.path, "w", self._rate, 2, subtype="PCM_16") as file:
                while frame := self._frames.get():
                    file.write(np.stack(frame, axis=1))
        except (OSError, soundfile.LibsndfileError) as error:
            log.error("%s cannot be written (%s); the call goes on unrecorded", self.path, error)
            while self._frames.get():
                pass
