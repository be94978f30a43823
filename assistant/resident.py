"""What a process has loaded stays at hand, so that the audio never waits for it."""

import ctypes
import gc
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger(__name__)

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4
"""Flags of mlockall(2), the same on all processors that Python has Linux packages for."""
_ARENA_MAX = -8
"""The parameter of mallopt(3): so many heaps at most."""
_IPC_LOCK = 14
"""The number of the capability to lock memory beyond any limit, capabilities(7)."""


def keep_loaded() -> None:
    """Call it once everything is loaded.

    The garbage collector no longer looks it through, a quarter of a second in which no packet
    leaves. And the system no longer drops what was not used for a while: code of libraries, which
    it would read from the disk again in the middle of a call, tens of milliseconds at a time.
    Where that is not allowed it is logged, and all else goes on.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux" and not _locked():
        log.info("the memory cannot be locked (it needs RLIMIT_MEMLOCK unlimited, or root)")


def share_one_heap() -> None:
    """Call it before threads are started, where they need much memory by turns.

    glibc gives each thread a heap of its own, and what one has freed no other takes: a process
    holds the most that each of its threads ever needed. Does nothing where the C library is
    another.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_ARENA_MAX, 1)


def _locked() -> bool:
    """Whether all pages in use, now and later, stay in memory."""
    # Below a limit, memory asked for later would be refused, and the process would end.
    if not _unlimited():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_CURRENT | _FUTURE | _ON_FAULT):
        log.debug("mlockall: %s", os.strerror(ctypes.get_errno()))
        return False
    return True


def _unlimited() -> bool:
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        return False
    capabilities = [line.split()[1] for line in status.splitlines() if line.startswith(b"CapEff")]
    return bool(capabilities) and int(capabilities[0], 16) >> _IPC_LOCK & 1 == 1
