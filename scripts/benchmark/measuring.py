"""What one run of a command costs: wall time, CPU of the client alone, and its peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Cost:
    """One run's cost."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


class FailedRunError(Exception):
    """A contender did not do its work; the text is the end of what it said."""


def measured(command: Sequence[str], environment: Mapping[str, str], scratch: Path) -> Cost:
    """Run *command* to its end, with its output in *scratch*; raises FailedRunError when it fails."""
    log, usage = scratch / "output.txt", scratch / "usage.json"
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(usage)]
    with log.open("wb") as output:
        ended = subprocess.run(
            [*launcher, *command], stdout=output, stderr=subprocess.STDOUT, env=dict(environment), check=False
        )
    if ended.returncode:
        said = log.read_text(encoding="utf-8", errors="replace")[-400:].strip()
        raise FailedRunError(f"exit code {ended.returncode}: {said}")
    return Cost(**json.loads(usage.read_text(encoding="utf-8")))
