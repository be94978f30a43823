"""Guards that loaded memory is locked where the system allows it, and that nothing else fails."""

import os
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

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mlockall is Linux's")


def told(*limit: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_TELL, *limit],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lock without a limit for certain")
def test_what_is_loaded_now_and_later_is_locked() -> None:
    (locked_kb,) = told()
    assert int(locked_kb) > 60_000


def test_where_memory_may_not_be_locked_all_goes_on() -> None:
    said, locked_kb = told("65536")
    assert "RLIMIT_MEMLOCK" in said
    assert int(locked_kb) == 0
