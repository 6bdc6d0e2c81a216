"""The results: as JSON, as a table, and what is said about the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.cases import Case
from benchmark.contenders import Contender
from benchmark.measuring import Cost
from orchestrator.transfer.hashing import best_md5

GIB = 1 << 30
_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass
class Result:
    """All rounds of one contender in one case."""

    case: Case
    contender: Contender
    costs: list[Cost] = field(default_factory=list)
    #: Seconds from the first to the last byte at the store; empty where the store does not tell.
    flows: list[float] = field(default_factory=list)
    failure: str | None = None

    def median(self, of: str) -> float:
        """The median of one figure."""
        return statistics.median(self.figures(of))

    def figures(self, of: str) -> list[float]:
        """One figure of every round."""
        if of == "flow_gb_per_second":
            return [self.case.total_bytes / seconds / 1e9 for seconds in self.flows]
        return [_FIGURES[of](self.case, cost) for cost in self.costs]


_FIGURES: dict[str, Callable[[Case, Cost], float]] = {
    "wall_seconds": lambda _case, cost: cost.wall_seconds,
    "gb_per_second": lambda case, cost: case.total_bytes / cost.wall_seconds / 1e9,
    "cpu_seconds_per_gib": lambda case, cost: cost.cpu_seconds / (case.total_bytes / GIB),
    "cpu_milliseconds_per_entry": lambda case, cost: cost.cpu_seconds / case.videos * 1000,
    "peak_mb": lambda _case, cost: cost.peak_bytes / 1e6,
}


def document(results: Sequence[Result], machine: Mapping[str, str], rounds: int) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "machine": dict(machine),
        "rounds": rounds,
        "contenders": {
            result.contender.name: {"checks": result.contender.checks, "resumes": result.contender.resumes}
            for result in results
        },
        "cases": [
            {
                "case": case.title,
                "total_bytes": case.total_bytes,
                "results": [_row(result) for result in results if result.case == case],
            }
            for case in dict.fromkeys(result.case for result in results)
        ],
    }


def _row(result: Result) -> dict[str, Any]:
    names = [*_FIGURES, *(["flow_gb_per_second"] if result.flows else [])]
    figures = {name: result.figures(name) for name in names} if result.costs else {}
    return {"contender": result.contender.name, "failure": result.failure, **figures}


def table(results: Sequence[Result], machine: Mapping[str, str], rounds: int, absent: Iterable[str]) -> str:
    """The report as Markdown."""
    lines = ["# Side by side", "", *_preamble(machine, rounds, absent)]
    for case in dict.fromkeys(result.case for result in results):
        lines += ["", f"## {case.title}", "", *_case_table([row for row in results if row.case == case])]
    lines += ["", "## What they promise", "", "| client | checks | resumes |", "|---|---|---|"]
    for contender in dict.fromkeys(
        (r.contender.name, r.contender.checks, r.contender.resumes) for r in results
    ):
        lines.append("| " + " | ".join(contender) + " |")
    return "\n".join(lines) + "\n"


def _preamble(machine: Mapping[str, str], rounds: int, absent: Iterable[str]) -> list[str]:
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    left_out = ", ".join(absent)
    return [
        f"{facts}.",
        "",
        f"{rounds} rounds, the contenders in turn within each; median and range. Files from memory, loopback, the",
        "store in another process. CPU is user and system time of the client alone, its start included. Without",
        "digest every client's own checks are switched off where it lets them be. The flow is from the first byte",
        "at the store to the last: without the client's start and end, and what it and the service do then.",
        *([f"Not installed, so left out: {left_out}."] if left_out else []),
    ]


def _case_table(rows: Sequence[Result]) -> list[str]:
    curl = next((row for row in rows if row.contender.name == "curl" and row.costs), None)
    lines = [
        "| client | wall s | GB/s | GB/s flow | CPU s/GiB | to curl | CPU ms/entry | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if not row.costs:
            lines.append(
                f"| {row.contender.name} | failed: {(row.failure or '').splitlines()[-1][:90]} | | | | | | |"
            )
            continue
        ratio = row.median("cpu_seconds_per_gib") / curl.median("cpu_seconds_per_gib") if curl else None
        cells = [
            row.contender.name,
            _cell(row, "wall_seconds", 2),
            _cell(row, "gb_per_second", 2),
            _cell(row, "flow_gb_per_second", 2) if row.flows else "",
            _cell(row, "cpu_seconds_per_gib", 2),
            f"{ratio:.2f}" if ratio else "",
            f"{row.median('cpu_milliseconds_per_entry'):.1f}",
            f"{max(row.figures('peak_mb')):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(row: Result, name: str, digits: int) -> str:
    return spread(row.figures(name), digits)


def spread(figures: Sequence[float], digits: int) -> str:
    """The median, and the range of all rounds."""
    return f"{statistics.median(figures):.{digits}f} ({min(figures):.{digits}f}-{max(figures):.{digits}f})"


def machine_facts(versions: Mapping[str, str]) -> dict[str, str]:
    """The machine and the versions of what takes part."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "CPU": f"{model}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "congestion control": _CONGESTION_CONTROL.read_text(encoding="utf-8").strip(),
        "Python": platform.python_version(),
        "aiohttp": importlib.metadata.version("aiohttp"),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        "MD5 lanes": str(best_md5().lanes),
        **versions,
    }
