"""What other processes have used so far, from /proc: seconds of CPU, bytes of memory."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; 0 for one that is gone."""
    return sum(map(int, _stat(pid)[11:13])) * _TICK_SECONDS


def family_cpu_seconds(parent: int) -> float:
    """The same of a process and all it has started, whether they are there or have ended."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    children = [pid for pid in pids if _parent(pid) == parent]
    return sum(map(int, _stat(parent)[11:15])) * _TICK_SECONDS + sum(map(cpu_seconds, children))


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """What a process has in memory, or had at its *peak*; 0 for one that is gone."""
    name = "VmHWM:" if peak else "VmRSS:"
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name)), 0)


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; zeros for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ["0"] * 50
    # The name may hold spaces and parentheses.
    return text.rpartition(")")[2].split()
