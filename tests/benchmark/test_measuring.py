"""What a run of a command costs, and that none of them keeps the benchmark waiting."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from benchmark.measuring import FailedRunError, measured


def python(script: str) -> list[str]:
    """The command line of a short program."""
    return [sys.executable, "-c", script]


def test_a_run_is_measured_without_whoever_started_it(tmp_path: Path) -> None:
    """CPU, memory and time are those of the command, and its start is on the clock all processes share."""
    before = time.monotonic()

    cost = measured(
        python("import time; held = bytearray(50_000_000); time.sleep(0.1)"), os.environ, tmp_path
    )

    assert 0.1 < cost.wall_seconds < 10
    assert 0 < cost.cpu_seconds < 5
    assert 50e6 < cost.peak_bytes < 100e6
    assert before <= cost.began_at <= time.monotonic() - cost.wall_seconds


def test_a_failure_tells_what_the_command_said(tmp_path: Path) -> None:
    """The code and the end of the output."""
    with pytest.raises(FailedRunError, match="exit code 3: no such luck"):
        measured(python("import sys; print('no such luck'); sys.exit(3)"), os.environ, tmp_path)


def test_who_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """A child of the command does not live on either."""
    child = tmp_path / "child"
    script = (
        "import subprocess, pathlib, time; child = subprocess.Popen(['sleep', '60']);"
        f" pathlib.Path({str(child)!r}).write_text(str(child.pid)); print('waiting', flush=True); time.sleep(60)"
    )

    with pytest.raises(FailedRunError, match=r"not done after 1 s: waiting"):
        measured(python(script), os.environ, tmp_path, limit_seconds=1)

    assert not is_running(int(child.read_text()))


def is_running(pid: int) -> bool:
    """Whether a process is there and no mere remainder of one."""
    for _ in range(100):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        if "State:\tZ" in status:
            return False
        time.sleep(0.01)
    return True
