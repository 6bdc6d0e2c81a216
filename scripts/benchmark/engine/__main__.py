"""`scripts/bench-engine`: measure what the program costs beyond the bytes, and write it down."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.engine import beginning, entries, limit, parts, scale
from benchmark.engine.bench import Bench, Finding, say
from benchmark.measuring import FailedRunError
from benchmark.report import machine_facts

_ROOT = Path(__file__).parent.parent.parent.parent
_MEASUREMENTS = {
    "entries": entries.measure,
    "scale": scale.measure,
    "parts": parts.measure,
    "beginning": beginning.measure,
    "limit": limit.measure,
}


def main() -> None:
    """Measure what the command line asks for."""
    arguments = _arguments()
    # Whatever runs then is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="bench-engine-", dir=arguments.work))
    try:
        bench = Bench(work, arguments.rounds, arguments.quick)
        findings = {
            name: _measured(bench, name)
            for name in _MEASUREMENTS
            if not arguments.only or name in arguments.only
        }
    finally:
        shutil.rmtree(work, ignore_errors=True)
    done = {name: finding for name, finding in findings.items() if finding is not None}
    _write(done, arguments)
    if len(done) < len(findings):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench-engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few entries and seconds: does it work?")
    parser.add_argument("--rounds", type=int, help="how often each is measured (3; quick: 1)")
    parser.add_argument("--only", nargs="+", choices=_MEASUREMENTS, help="measure these only")
    parser.add_argument("--work", type=Path, help="where files are put meanwhile; up to 4 GiB")
    parser.add_argument("--output", type=Path, help="where the report goes (docs/benchmarks; quick: nowhere)")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    if arguments.output is None and not arguments.quick:
        arguments.output = _ROOT / "docs" / "benchmarks"
    return arguments


def _measured(bench: Bench, name: str) -> Finding | None:
    began = time.monotonic()
    try:
        finding = _MEASUREMENTS[name](bench)
    except FailedRunError as error:
        say(f"{name}: failed: {error}")
        return None
    say(f"{name}: measured in {time.monotonic() - began:.0f} s")
    return finding


def _write(findings: Mapping[str, Finding], arguments: argparse.Namespace) -> None:
    machine = machine_facts({})
    text = _text(list(findings.values()), machine, arguments.rounds)
    sys.stdout.write(text)
    if arguments.output is None:
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine,
        "rounds": arguments.rounds,
        "findings": {name: vars(finding) for name, finding in findings.items()},
    }
    (arguments.output / "engine.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "engine.md").write_text(text, encoding="utf-8")


def _text(findings: Sequence[Finding], machine: Mapping[str, str], rounds: int) -> str:
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        "# What it costs beyond the bytes",
        "",
        f"{facts}.",
        "",
        f"{rounds} rounds; median and range. CPU is user and system time of the client alone, its start included",
        "where nothing else is said; peak is the largest of all rounds.",
    ]
    for finding in findings:
        lines += [
            "",
            f"## {finding.title}",
            "",
            finding.how,
            f"Target: {finding.target}.",
            "",
            *_table(finding),
        ]
    return "\n".join(lines) + "\n"


def _table(finding: Finding) -> list[str]:
    rows = [finding.columns, ["---"] * len(finding.columns), *finding.rows]
    return ["| " + " | ".join(row) + " |" for row in rows]


if __name__ == "__main__":
    main()
