"""The benchmarks of engine and fleet work: every figure of a report is measured, if on next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["entries", "scale", "parts", "beginning", "limit"])
def test_the_quick_form_measures_once(name: str, tmp_path: Path) -> None:
    """No figure is judged: a loaded machine must not fail the suite."""
    finding = quick_finding("engine", name, tmp_path)

    assert all(figure > 0 for figure in numbers(finding["figures"]))


@pytest.mark.parametrize("name", ["efficiency", "cost", "rate", "scale"])
def test_the_quick_form_has_workers_upload_a_batch(name: str, tmp_path: Path) -> None:
    """As above: on a server, with workers that are processes of their own; a batch that is not done fails it."""
    finding = quick_finding("fleet", name, tmp_path)

    figures = numbers(finding["figures"])
    assert all(figure >= 0 for figure in figures)
    assert any(figure > 0 for figure in figures)


def test_what_is_not_measured_again_stays_in_the_report(tmp_path: Path) -> None:
    """Measurements of minutes are made one by one; those of other rounds are not mixed with them."""
    both = ("parts", "beginning")
    for name in both:
        quick_finding("engine", name, tmp_path)
    after_both = json.loads((tmp_path / "engine.json").read_text())["findings"]
    quick_finding("engine", "parts", tmp_path, "--rounds", "2")
    after_other_rounds = json.loads((tmp_path / "engine.json").read_text())["findings"]

    assert sorted(after_both) == sorted(both)
    assert list(after_other_rounds) == ["parts"]


def quick_finding(suite: str, name: str, folder: Path, *arguments: str) -> Any:
    """What the quick form of one measurement found, by its JSON; the report tells the same."""
    # The server may run as another user, whom other sessions of pytest keep from what is in pytest's own folders.
    with tempfile.TemporaryDirectory() as work:
        folders = ["--output", str(folder), "--work", work]
        ended = subprocess.run(
            [sys.executable, "-m", f"benchmark.{suite}", "--quick", "--only", name, *folders, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert not list(Path(work).iterdir())
    finding = json.loads((folder / f"{suite}.json").read_text())["findings"][name]
    assert finding["rows"]
    assert all(len(row) == len(finding["columns"]) for row in finding["rows"])
    assert f"## {finding['title']}" in (folder / f"{suite}.md").read_text()
    return finding


def numbers(figures: Any) -> list[float]:
    """All numbers of a JSON document."""
    if isinstance(figures, dict):
        return numbers(list(figures.values()))
    if isinstance(figures, list):
        return [number for figure in figures for number in numbers(figure)]
    return [figures]
