"""Draw the results: `chart.py RESULTS.json CHART.png`; runs in the benchmark's own venv, which has matplotlib."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

OURS, OTHERS = "#1b6ca8", "#b8c4cc"


def draw(document: dict[str, Any], target: Path) -> None:
    """One row of bars for each case: CPU on the left, throughput on the right."""
    cases = [case for case in document["cases"] if sum("wall_seconds" in row for row in case["results"]) > 1]
    figure, axes = plt.subplots(len(cases), 2, figsize=(11, 1.9 * len(cases)), squeeze=False)
    for (left, right), case in zip(axes, cases, strict=True):
        rows = [row for row in case["results"] if "wall_seconds" in row][::-1]
        bars(left, rows, "cpu_seconds_per_gib", f"{case['case']}\nCPU s/GiB (less is better)")
        bars(right, rows, "gb_per_second", "GB/s (more is better)")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def bars(axis: Any, rows: list[dict[str, Any]], name: str, title: str) -> None:
    """Medians as bars, with the range of all rounds."""
    medians = [statistics.median(row[name]) for row in rows]
    errors = [
        [median - min(row[name]) for median, row in zip(medians, rows, strict=True)],
        [max(row[name]) - median for median, row in zip(medians, rows, strict=True)],
    ]
    colours = [OURS if row["contender"].startswith("orchestrator") else OTHERS for row in rows]
    axis.barh([row["contender"] for row in rows], medians, xerr=errors, color=colours, ecolor="#555555")
    axis.set_title(title, fontsize=8, loc="left")
    axis.tick_params(labelsize=7)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
