"""Guards that loaded memory is locked where the system allows it, that nothing else fails, and that
what was needed once is given back."""

import os
import platform
import subprocess
import sys

import pytest

LOAD_AND_TELL = """
import logging, os, resource, sys
from assistant.resident import keep_loaded
if len(sys.argv) > 1:  # as a user without any power of root
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
    if os.getuid() == 0:
        os.setuid(65534)
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
keep_loaded()
later = bytearray(50_000_000)
status = open("/proc/self/status", "rb").read()
print(*(int(line.split()[1]) for line in status.splitlines() if line.startswith(b"VmLck")))
"""

WORK_AND_TELL = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from assistant.resident import hold_no_more_than_needed, keep_loaded

def held_mb():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon")) / 1024

def work(_):
    np.ones(20 << 20, np.int8)
    tensors = [np.ones(15 << 20, np.int8), np.ones(100_000, np.int8)]
    return tensors[1]

if "hold" in sys.argv:
    hold_no_more_than_needed()
keep_loaded()
before = held_mb()
with ThreadPoolExecutor(4) as threads:
    kept = list(threads.map(work, range(16)))
print(held_mb() - before)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mlockall is Linux's")


def told(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lock without a limit for certain")
def test_what_is_loaded_now_and_later_is_locked() -> None:
    (locked_kb,) = told(LOAD_AND_TELL)
    assert int(locked_kb) > 60_000


def test_where_memory_may_not_be_locked_all_goes_on() -> None:
    said, locked_kb = told(LOAD_AND_TELL, "65536")
    assert "RLIMIT_MEMLOCK" in said
    assert int(locked_kb) == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that holds on to memory")
def test_what_threads_needed_for_a_moment_is_given_back() -> None:
    (usually,), (now,) = told(WORK_AND_TELL), told(WORK_AND_TELL, "hold")
    assert float(now) < 6 < float(usually)
