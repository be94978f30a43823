"""The audio's clock goes first.

Only the clock: a thread that was made to wait while it holds Python's lock would hold up the
clock too.
"""

import logging
import os

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""A thread that wants Python's lock gets it within this. The audio clock wants it twice a call
every 20 ms; with the usual 5 ms it came too late beside a thread that computes."""


def audio_first() -> None:
    """Let the calling thread, which must only do a little at a time, run as soon as it wants to.

    Where the system does not allow it, a busy machine is heard as gaps; that is logged.
    """
    if not hasattr(os, "sched_setscheduler"):
        return
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        log.info("the audio clock has no real-time priority (it needs RLIMIT_RTPRIO or root)")
