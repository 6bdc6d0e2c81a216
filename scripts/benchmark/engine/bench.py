"""What the measurements share: where they work, how they run the command, and what they find."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmark.measuring import Cost, measured
from benchmark.testbed import orchestrator

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One measurement: the table people read, and the figures it was made from."""

    title: str
    target: str
    how: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """A folder to work in, and how much is to be measured."""

    work: Path
    rounds: int
    is_quick: bool

    def folder(self, name: str) -> Path:
        """A new folder, whose name begins with *name*."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.work))

    def chosen(self, cases: Sequence[T]) -> Sequence[T]:
        """Which cases are measured: all, or in the quick form the last."""
        return cases[-1:] if self.is_quick else cases


@dataclass(frozen=True)
class Client:
    """The command with a home and a journal of its own, and what its environment adds."""

    home: Path
    environment: Mapping[str, str]

    @property
    def journal(self) -> Path:
        """Where its state is."""
        return self.home / "journal.db"

    def command(self, verb: str, manifest: Path, *flags: str, **settings: object) -> list[str]:
        """A command line about *manifest*; `part_size=4` is `--part-size 4`."""
        pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in settings.items()]
        words = [word for pair in pairs for word in pair]
        return orchestrator(verb, str(manifest), "--json", *flags, *words)

    def run(self, command: Sequence[str], *, expected_code: int = 0) -> Cost:
        """Run a command line to its end; raises FailedRunError."""
        return measured(command, self.settings, self.home, expected_code=expected_code)

    @property
    def settings(self) -> dict[str, str]:
        """The whole environment."""
        return {
            **self.environment,
            "HOME": str(self.home),
            "ORCHESTRATOR_STATE": str(self.journal),
            "ORCHESTRATOR_PROGRESS": "none",
        }


def write_manifest(path: Path, avatars: Iterable[Mapping[str, object]]) -> Path:
    """Write a batch; JSON is YAML."""
    path.write_text(json.dumps({"avatars": list(avatars)}), encoding="utf-8")
    return path


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
