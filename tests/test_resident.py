"""Guards that loaded memory is locked where the system allows it, that nothing else fails, and that
threads share their memory."""

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

HEAPS = """
import ctypes, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from assistant.resident import share_one_heap

if "shared" in sys.argv:
    share_one_heap()
with ThreadPoolExecutor(4) as threads:
    kept = list(threads.map(lambda _: np.ones(100_000, np.int8), range(100)))
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has more than one")
def test_threads_may_share_one_heap() -> None:
    usual, shared = ("".join(told(HEAPS, *how)).count("<heap nr=") for how in ([], ["shared"]))
    assert shared == 1 < usual
