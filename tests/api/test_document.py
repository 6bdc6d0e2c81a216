"""docs/api.md: its example runs, and it speaks of every name there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch

PAGE = Path(__file__).parents[2] / "docs/api.md"


def test_the_example_runs_as_it_stands(batch: Batch, simulator: Simulator) -> None:
    """In a folder with a manifest, and an environment that names a service."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

    ended = subprocess.run(
        [sys.executable, "-c", example], cwd=batch.folder, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert "bytes to send, about 0 s" in lines[0]
    assert (lines[1], "run.finished" in lines) == ("run.started", True)
    assert [line.split()[:2] for line in lines[-2:]] == [["anna", "confirmed"], ["bo", "confirmed"]]
    assert {job.name for job in simulator.jobs} == {"anna", "bo"}


@pytest.mark.parametrize("name", sorted({*dir(orchestrator)} - {"__version__"}))
def test_every_public_name_is_there(name: str) -> None:
    """And can be had from the package."""
    assert getattr(orchestrator, name).__module__.startswith("orchestrator.")


def test_the_package_itself_loads_nothing() -> None:
    """So that `orchestrator --help` stays quick."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import orchestrator, sys; print([n for n in sys.modules if 'orchestrator.' in n])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert loaded.stdout.strip() == "[]"


def test_a_name_that_is_not_public_is_not_there() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'open_door'"):
        _ = orchestrator.open_door
