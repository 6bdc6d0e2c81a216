"""Benchmarks of one subject: their command line, what they find, and the report it makes."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmark.measuring import Cost, FailedRunError, measured
from benchmark.report import machine_facts
from benchmark.testbed import orchestrator

T = TypeVar("T")

_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Finding:
    """One measurement: the table people read, what is said below it, and the figures both were made from."""

    title: str
    target: str
    how: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, Any]
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Its part of the report."""
        rows = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = ["| " + " | ".join(row) + " |" for row in rows]
        below = ["", *self.notes] if self.notes else []
        return ["", f"## {self.title}", "", self.how, f"Target: {self.target}.", "", *table, *below]


@dataclass(frozen=True)
class Bench:
    """A folder to work in, and how much is to be measured: *entries* of None is as many as the measurement needs."""

    work: Path
    rounds: int
    is_quick: bool
    entries: int | None = None

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
    #: The URL of its journal; None keeps it in its home.
    server: str | None = None

    @property
    def journal(self) -> Path:
        """Where its state is, without a server."""
        return self.home / "journal.db"

    def command(self, verb: str, *words: object, **settings: object) -> list[str]:
        """A command line; `part_size=4` is `--part-size 4`."""
        pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in settings.items()]
        named = [word for pair in pairs for word in pair]
        return orchestrator(verb, *map(str, words), "--json", *named)

    def run(self, command: Sequence[str], *, expected_code: int = 0) -> Cost:
        """Run a command line to its end; raises FailedRunError."""
        return measured(command, self.settings, self.home, expected_code=expected_code)

    @property
    def settings(self) -> dict[str, str]:
        """The whole environment."""
        return {
            **self.environment,
            "HOME": str(self.home),
            "ORCHESTRATOR_STATE": self.server or str(self.journal),
            "ORCHESTRATOR_PROGRESS": "none",
        }


@dataclass(frozen=True)
class Suite:
    """Measurements of one subject; the report of *name* goes to `NAME.md`, its figures to `NAME.json`."""

    name: str
    description: str
    title: str
    preamble: Sequence[str]
    measurements: Mapping[str, Callable[[Bench], Finding]]
    #: What `--entries` means; without it there is no such option.
    entries_help: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def main(self) -> None:
        """Measure what the command line asks for."""
        arguments = self._arguments()
        # What runs then is ended on the way out.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        if arguments.work is not None:
            arguments.work.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-", dir=arguments.work))
        try:
            bench = Bench(work, arguments.rounds, arguments.quick, arguments.entries)
            findings = {
                name: self._measured(bench, name)
                for name in self.measurements
                if not arguments.only or name in arguments.only
            }
        finally:
            shutil.rmtree(work, ignore_errors=True)
        done = {name: finding for name, finding in findings.items() if finding is not None}
        self._write(done, arguments)
        if len(done) < len(findings):
            sys.exit(1)

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(prog=f"scripts/bench-{self.name}", description=self.description)
        parser.add_argument("--quick", action="store_true", help="a few entries and seconds: does it work?")
        parser.add_argument("--rounds", type=int, help="how often each is measured (3; quick: 1)")
        parser.add_argument(
            "--only", nargs="+", choices=self.measurements, help="measure these; the others stay as reported"
        )
        parser.add_argument("--work", type=Path, help="where files are put meanwhile; up to 4 GiB")
        parser.add_argument(
            "--output", type=Path, help="where the report goes (docs/benchmarks; quick: nowhere)"
        )
        if self.entries_help is not None:
            parser.add_argument("--entries", type=int, help=self.entries_help)
        parser.set_defaults(entries=None)
        arguments = parser.parse_args()
        arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
        if arguments.output is None and not arguments.quick:
            arguments.output = _ROOT / "docs" / "benchmarks"
        return arguments

    def _measured(self, bench: Bench, name: str) -> Finding | None:
        began = time.monotonic()
        try:
            finding = self.measurements[name](bench)
        except FailedRunError as error:
            say(f"{name}: failed: {error}")
            return None
        say(f"{name}: measured in {time.monotonic() - began:.0f} s")
        return finding

    def _write(self, measured_now: Mapping[str, Finding], arguments: argparse.Namespace) -> None:
        head = {"machine": machine_facts(self.versions), "rounds": arguments.rounds}
        findings = dict(measured_now)
        if arguments.only and arguments.output is not None:
            findings = {**_reported(arguments.output / f"{self.name}.json", head), **findings}
        findings = {name: findings[name] for name in self.measurements if name in findings}
        text = self._text(list(findings.values()), head["machine"], arguments.rounds)
        sys.stdout.write(text)
        if arguments.output is None:
            return
        arguments.output.mkdir(parents=True, exist_ok=True)
        document = {**head, "findings": {name: vars(finding) for name, finding in findings.items()}}
        figures = json.dumps(document, indent=1) + "\n"
        (arguments.output / f"{self.name}.json").write_text(figures, encoding="utf-8")
        (arguments.output / f"{self.name}.md").write_text(text, encoding="utf-8")

    def _text(self, findings: Sequence[Finding], machine: Mapping[str, str], rounds: int) -> str:
        facts = "; ".join(f"{name} {value}" for name, value in machine.items())
        lines = [f"# {self.title}", "", f"{facts}.", "", f"{rounds} rounds; {self.preamble[0]}"]
        lines += [*self.preamble[1:], *(line for finding in findings for line in finding.lines())]
        return "\n".join(lines) + "\n"


def _reported(path: Path, head: Mapping[str, Any]) -> dict[str, Finding]:
    """What an earlier report holds, if it was made on the same machine in as many rounds."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    if any(document[name] != value for name, value in head.items()):
        say(f"{path.name} was made on another machine or in other rounds: begun anew")
        return {}
    return {name: Finding(**finding) for name, finding in document["findings"].items()}


def write_manifest(path: Path, avatars: Iterable[Mapping[str, object]]) -> Path:
    """Write a batch; JSON is YAML."""
    path.write_text(json.dumps({"avatars": list(avatars)}), encoding="utf-8")
    return path


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
