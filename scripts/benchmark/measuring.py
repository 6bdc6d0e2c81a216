"""What one run of a command costs: wall time, CPU of the client alone, and its peak memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: Who needs longer than this hangs: the slowest client needs a minute for the largest case.
LIMIT_SECONDS = 900.0
_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Cost:
    """One run's cost; `began_at` is by the monotonic clock, which is the same for all processes."""

    began_at: float
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


class FailedRunError(Exception):
    """A contender did not do its work; the text is the end of what it said."""


def measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    *,
    expected_code: int = 0,
    limit_seconds: float = LIMIT_SECONDS,
) -> Cost:
    """Run *command* to its end, with its output in *scratch*; raises FailedRunError when it fails or hangs."""
    usage = scratch / "usage.json"
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(usage)]
    with started([*launcher, *command], environment, scratch) as process:
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            raise FailedRunError(f"not done after {limit_seconds:g} s: {said(scratch)}") from None
    if code != expected_code:
        raise FailedRunError(f"exit code {code}: {said(scratch)}")
    return Cost(**json.loads(usage.read_text(encoding="utf-8")))


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], scratch: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start *command* with its output in *scratch*, and end it with all it started afterwards."""
    with (
        _output(scratch).open("wb") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _output(scratch: Path) -> Path:
    return scratch / "output.txt"


def said(scratch: Path) -> str:
    """The end of what a command said."""
    return _output(scratch).read_text(encoding="utf-8", errors="replace")[-400:].strip()
