"""The history of a batch's runs: each leaves its exit code, also one that was refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable

import pytest

from orchestrator import __version__
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document


def runs(cli: Cli, name: str = "studio") -> list[dict[str, object]]:
    """The runs that `status` lists, the latest first."""
    document = cli("status", name, "--runs", "--json").document
    check_document("status-runs", document)
    return document["runs"]  # type: ignore[no-any-return]


@pytest.mark.usefixtures("simulator")
def test_each_command_that_works_on_a_batch_leaves_a_run(cli: Cli, batch: Batch) -> None:
    """With its counts, process and version; its id is the one of its own document."""
    ran = cli("run", batch.manifest, "--json").document
    submitted = cli("submit", "studio", "--json").document
    retried = cli("retry", "studio", "--json").document

    found = runs(cli)

    ids = [document["run_id"] for document in (retried, submitted, ran)]
    assert sorted(run["run_id"] for run in found) == sorted(ids)  # type: ignore[type-var]
    assert [run["exit_code"] for run in found] == [0, 0, 0]
    assert [run["state"] for run in found] == ["ended"] * 3
    first = next(run for run in found if run["run_id"] == ran["run_id"])
    assert first["entries"] == ran["entries"]
    assert (first["host"], first["pid"]) == (socket.gethostname(), os.getpid())
    assert first["version"] == __version__


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        ("missing file", 3),
        ("no YAML", 3),
        ("no credentials", 4),
        ("wrong setting", 4),
        ("no manifest", 3),
    ],
)
def test_a_refused_run_of_a_known_batch_is_in_the_history(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch, kind: str, exit_code: int
) -> None:
    """Once, whatever refused it and however early; `status` shows its code as the last one."""
    cli("run", batch.manifest)
    if kind == "missing file":
        batch.write(batch.entry("anna"), {**batch.entry("bo"), "training_video": "none.mp4"})
    elif kind == "no YAML":
        batch.manifest.write_text("avatars: [", encoding="utf-8")
    elif kind == "no credentials":
        monkeypatch.delenv("HUAWEICLOUD_SDK_AK")
    elif kind == "wrong setting":
        monkeypatch.setenv("ORCHESTRATOR_JOBS", "many")
    else:
        batch.manifest.unlink()

    refused = cli("run", batch.manifest)

    monkeypatch.delenv("ORCHESTRATOR_JOBS", raising=False)
    assert refused.exit_code == exit_code, refused.stderr
    assert [run["exit_code"] for run in runs(cli)] == [exit_code, 0]
    (known,) = cli("status", "--json").document["batches"]
    assert known["last_run"]["exit_code"] == exit_code


@pytest.mark.usefixtures("simulator")
def test_a_refused_retry_and_submit_are_in_the_history(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They know their batch before anything else."""
    cli("run", batch.manifest)
    monkeypatch.delenv("HUAWEICLOUD_SDK_AK")

    codes = [cli(command, "studio").exit_code for command in ("retry", "submit")]
    batch.manifest.unlink()
    codes.append(cli("retry", "studio").exit_code)

    assert codes == [4, 4, 3]
    assert [run["exit_code"] for run in runs(cli)] == [*reversed(codes), 0]


@pytest.mark.usefixtures("simulator")
def test_a_wrong_command_line_is_no_run(cli: Cli, batch: Batch) -> None:
    """Nothing was asked of the batch."""
    cli("run", batch.manifest)

    assert cli("run", batch.manifest, "--jobs", "many").exit_code == 2
    assert len(runs(cli)) == 1


def test_whether_a_run_is_under_way_is_asked_of_the_lock(
    cli: Cli,
    batch: Batch,
    simulator: Simulator,
    start_program: Callable[..., subprocess.Popen[str]],
) -> None:
    """Running while its process holds the batch, killed afterwards; one that was locked out leaves a 6."""
    batch.write(batch.entry("anna", size=3_000_000))
    process = start_program("run", batch.manifest, "--bwlimit", "100k")
    while not simulator.jobs:
        assert process.poll() is None

    (running,) = runs(cli)
    assert (running["state"], running["pid"], running["exit_code"]) == ("running", process.pid, None)
    assert cli("run", batch.manifest).exit_code == 6
    assert [run["exit_code"] for run in runs(cli)] == [6, None]
    assert f"running (process {process.pid} on " in cli("status", "studio").stdout

    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [run["state"] for run in runs(cli)] == ["ended", "killed"]
    assert "killed" in cli("status", "studio", "--runs").stdout


def test_only_runs_of_a_batch_can_be_listed(cli: Cli) -> None:
    """With the usage errors that say so."""
    assert cli("status", "--runs").exit_code == 2
    assert cli("status", "studio", "--runs").exit_code == 2
    assert cli("status", "studio", "--runs", "--failed").exit_code == 2
