"""The benchmark of the engine works: every figure of the report is measured, if on next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("name", ["entries", "scale", "parts", "beginning", "limit"])
def test_the_quick_form_measures_once(name: str, tmp_path: Path) -> None:
    """No figure is judged: a loaded machine must not fail the suite."""
    folders = ["--output", str(tmp_path), "--work", str(tmp_path)]

    ended = subprocess.run(
        [sys.executable, "-m", "benchmark.engine", "--quick", "--only", name, *folders],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    finding = json.loads((tmp_path / "engine.json").read_text())["findings"][name]
    assert finding["rows"]
    assert all(len(row) == len(finding["columns"]) for row in finding["rows"])
    assert all(figure > 0 for figure in numbers(finding["figures"]))
    assert f"## {finding['title']}" in (tmp_path / "engine.md").read_text()
    assert not list(tmp_path.glob("bench-engine-*"))


def numbers(figures: Any) -> list[float]:
    """All numbers of a JSON document."""
    if isinstance(figures, dict):
        return numbers(list(figures.values()))
    if isinstance(figures, list):
        return [number for figure in figures for number in numbers(figure)]
    return [figures]
