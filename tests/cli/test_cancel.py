"""`cancel`: only where somebody agrees, never beside a run, and with the reason where a job stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.journal.sqlite import hold_batch_lock
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli, Terminal
from tests.cli.documents import check_document

#: Reviews are over at once, training is not.
REVIEWED = pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=20_000)])


def test_jobs_are_deleted_and_a_run_leaves_their_entries_alone(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """A table of outcomes; again there is nothing to cancel."""
    cli("run", batch.manifest)
    (job,) = [job.job_id for job in simulator.jobs if job.name == "anna"]

    result, again = cli("cancel", "studio", "--yes"), cli("cancel", "studio", "--yes", "--json")
    run = cli("run", batch.manifest, "--json")

    assert result.exit_code == again.exit_code == run.exit_code == 0
    assert f"anna   cancelled  {job}" in result.stdout
    assert "studio: 2 cancelled" in result.stdout
    check_document("cancel", again.document)
    assert again.document["entries"] == []
    assert simulator.jobs == []
    assert run.document["entries"]["skipped"] == 2


def test_nothing_is_cancelled_where_nobody_agrees(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Without a terminal and without --yes: a wrong usage."""
    cli("run", batch.manifest)

    result = cli("cancel", "studio", "--json")

    check_document("error", result.document)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert len(simulator.jobs) == 2


def test_a_person_at_the_terminal_is_asked_and_only_yes_is_a_yes(
    cli: Cli, batch: Batch, simulator: Simulator, answer: Callable[[str], Terminal]
) -> None:
    """The question tells what goes."""
    cli("run", batch.manifest)

    for typed in ("", "n", "perhaps"):
        asked = answer(typed)
        assert (cli("cancel", "studio").exit_code, len(simulator.jobs)) == (0, 2)
        assert "Cancel 2 entries of studio? Their jobs and files are deleted" in asked.getvalue()
    answer("y")
    assert (cli("cancel", "studio").exit_code, len(simulator.jobs)) == (0, 0)


@REVIEWED
def test_a_job_that_stays_is_refused_with_its_reason(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Exit 8; the others go."""
    batch.write(batch.entry("anna"), batch.entry("bo"))
    cli("run", batch.manifest)
    cli("cancel", "studio", "--entry", "bo", "--yes")
    cli("submit", "studio")
    cli("watch", "studio", "--until", "reviewed", "--interval", "0.02")

    result = cli("cancel", "studio", "--yes", "--entry", "anna", "--entry", "bo", "--json")
    table = cli("cancel", "studio", "--yes")

    check_document("cancel", result.document)
    assert result.exit_code == table.exit_code == 8
    outcomes = {entry["entry"]: entry["outcome"] for entry in result.document["entries"]}
    assert outcomes == {"anna": "refused", "bo": "cancelled"}
    # The job goes on training between the two, so the state at the end of the sentence may differ.
    assert result.document["entries"][0]["reason"].partition(" state ")[0] in table.stdout
    detail = cli("status", "studio", "--entry", "anna", "--json").document
    assert detail["state"] == "training"
    assert "does not let this job be deleted" in detail["error"]["message"]
    assert [job.name for job in simulator.jobs] == ["anna"]


def test_only_the_entries_named_are_cancelled(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Also one the manifest no longer has."""
    cli("run", batch.manifest)
    batch.write(batch.entry("bo"))
    cli("run", batch.manifest)

    result = cli("cancel", "studio", "--entry", "anna", "--yes")
    unknown = cli("cancel", "studio", "--entry", "carla", "--yes")

    assert (result.exit_code, unknown.exit_code) == (0, 2)
    assert [job.name for job in simulator.jobs] == ["bo"]


def test_a_batch_that_is_being_run_is_left_alone(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """Exit 6."""
    cli("run", batch.manifest)
    (lock,) = home.rglob("*.lock")

    with hold_batch_lock(lock):
        result = cli("cancel", "studio", "--yes", "--json")

    check_document("error", result.document)
    assert result.exit_code == 6
    assert len(simulator.jobs) == 2
