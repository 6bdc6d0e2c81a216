"""The benchmark works: everybody who is here sends the same bytes, and the report says what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.bench


def test_the_quick_form_measures_this_program_over_http_and_https(tmp_path: Path) -> None:
    """No figure is judged: a loaded machine must not fail the suite."""
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "--quick",
        "--output",
        str(tmp_path),
        "--work",
        str(tmp_path),
    ]

    ended = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "side-by-side.json").read_text())
    assert [case["case"] for case in found["cases"]] == [
        "2 x 6 MiB, HTTP, no digest",
        "2 x 6 MiB, HTTPS, MD5 ETags",
    ]
    for case in found["cases"]:
        (ours,) = [row for row in case["results"] if row["contender"] == "orchestrator"]
        assert ours["failure"] is None
        assert ours["cpu_seconds_per_gib"][0] > 0
        assert ours["flow_gb_per_second"][0] > ours["gb_per_second"][0]
        assert 20 < ours["peak_mb"][0] < 200
    assert "| orchestrator | MD5 of every segment" in (tmp_path / "side-by-side.md").read_text()
    assert not list(tmp_path.glob("bench-*"))
