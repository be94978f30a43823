"""Which threads may wait: the audio's clock never, inference always.

Where the system does not allow it, or is not Linux, all threads stay equal; that is logged once,
since a busy machine is then heard as gaps in the voice.
"""

import contextlib
import logging
import os
import sys
import threading

log = logging.getLogger(__name__)

INFERENCE_NICE = 5
"""A third of the weight of the threads that carry audio and signalling, when both want a core."""

SWITCH_S = 0.0005
"""A thread that wants Python's lock gets it within this. The audio clock wants it twice a call
every 20 ms; with the usual 5 ms it came too late beside a thread that computes."""


def audio_first() -> None:
    """Let the calling thread, which must only do a little at a time, run as soon as it wants to."""
    if not hasattr(os, "sched_setscheduler"):
        return
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        log.info("the audio clock has no real-time priority (it needs RLIMIT_RTPRIO or root)")


def behind_audio() -> None:
    """Let the calling thread, and those that it starts, wait for audio and signalling."""
    if sys.platform == "linux":  # elsewhere this would be the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INFERENCE_NICE)
