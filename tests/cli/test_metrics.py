"""`--metrics-file` as node_exporter finds it after each kind of run."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from orchestrator.simulator import Simulator
from tests.cli.conftest import SECRETS, Batch, Cli


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """Where the file is written."""
    return tmp_path / "studio.prom"


def value(path: Path, name: str) -> float:
    """The one value of the metric *name*."""
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(name + "{")]
    return float(line.rsplit(" ", 1)[1])


def test_a_run_leaves_what_it_did(cli: Cli, batch: Batch, simulator: Simulator, metrics: Path) -> None:
    """And nothing secret."""
    assert cli("run", batch.manifest, "--metrics-file", metrics).exit_code == 0

    assert value(metrics, "metastudio_run_exit_code") == 0
    assert (
        value(metrics, "metastudio_sent_bytes_total") == value(metrics, "metastudio_batch_stored_bytes") > 0
    )
    assert not any(secret in metrics.read_text(encoding="utf-8") for secret in SECRETS)


@pytest.mark.usefixtures("simulator")
def test_a_run_that_is_refused_leaves_its_exit_code(cli: Cli, batch: Batch, metrics: Path) -> None:
    """So that a night without a run is not taken for a good one."""
    batch.write({"name": "anna"})

    assert cli("run", batch.manifest, "--metrics-file", metrics).exit_code == 3

    assert value(metrics, "metastudio_run_exit_code") == 3


@pytest.mark.usefixtures("simulator")
def test_a_run_beside_another_leaves_the_file_alone(
    cli: Cli, batch: Batch, metrics: Path, home: Path
) -> None:
    """It is written by the one that works."""
    cli("run", batch.manifest, "--metrics-file", metrics)
    before = metrics.read_bytes()
    (lock,) = home.rglob("*.lock")

    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli("run", batch.manifest, "--metrics-file", metrics).exit_code == 6

    assert metrics.read_bytes() == before


@pytest.mark.usefixtures("simulator")
def test_a_file_that_cannot_be_written_changes_nothing(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """But for one warning."""
    (tmp_path / "file").touch()

    result = cli("run", batch.manifest, "--metrics-file", tmp_path / "file" / "studio.prom")

    assert result.exit_code == 0
    assert result.stderr.count("metrics are not written to") == 1
