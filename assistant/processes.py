"""What processes cost, as Linux's /proc tells it: CPU, memory, open files, threads.

Other systems have no /proc: there everything costs nothing.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process group: a service and the children that it has started."""

    cpu_s: float = 0.0
    """Processor time since the start."""
    memory_mb: float = 0.0
    """Proportional set size: what is shared counts to each process by its part."""
    files: int = 0
    threads: int = 0
    sockets: int = 0
    own_mb: float = 0.0
    """The part of it that no file backs, which is where a leak shows: how much of a mapped file
    counts depends on who else has mapped it."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.cpu_s + other.cpu_s,
            self.memory_mb + other.memory_mb,
            self.files + other.files,
            self.threads + other.threads,
            self.sockets + other.sockets,
            self.own_mb + other.own_mb,
        )


def busy_s() -> float:
    """Processor time of the whole machine since its start, idling and waiting left out."""
    try:
        first = (PROC / "stat").read_text().split("\n", 1)[0]
    except FileNotFoundError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def costs(groups: Iterable[int]) -> dict[int, Cost]:
    """The cost of each process group now; one that has ended costs nothing."""
    found = dict.fromkeys(groups, Cost())
    for folder in PROC.glob("[0-9]*"):
        try:
            group = os.getpgid(int(folder.name))
            if group in found:
                found[group] += _cost(folder)
        except OSError:  # it has ended while we looked
            continue
    return found


def _cost(folder: Path) -> Cost:
    # the name in brackets may hold spaces
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    memory = (folder / "smaps_rollup").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in memory[1:]}
    files = []
    for each in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            files.append(os.readlink(each))
    return Cost(
        ticks / os.sysconf("SC_CLK_TCK"),
        kilobytes["Pss"] / 1024,
        len(files),
        int(fields[17]),
        sum(name.startswith("socket:") for name in files),
        kilobytes["Pss_Anon"] / 1024,
    )
