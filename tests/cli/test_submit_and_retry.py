"""`submit`, `retry`, and what `run` does after a change: the batch is known by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document

QUICK = pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])


def test_submit_needs_no_endpoint_and_never_submits_twice(
    cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal knows where the batch is."""
    cli("run", batch.manifest)
    monkeypatch.delenv("ORCHESTRATOR_ENDPOINT")

    first, second = cli("submit", "studio", "--json"), cli("submit", "studio")

    check_document("run", first.document)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert second.stdout == "studio: nothing to do, all 2 entries are done\n"
    assert [job.submissions for job in simulator.jobs] == [1, 1]


def test_a_flag_that_names_another_service_is_refused(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Another batch must be meant."""
    cli("run", batch.manifest)

    result = cli("submit", "studio", "--endpoint", "https://elsewhere.example.com", "--json")

    check_document("error", result.document)
    assert result.exit_code == 2
    assert simulator.endpoint in result.stderr
    assert [job.submissions for job in simulator.jobs] == [0, 0]


@pytest.mark.parametrize("command", ["submit", "retry", "watch", "results"])
def test_an_unknown_batch_is_a_wrong_usage(cli: Cli, command: str, home: Path) -> None:
    """And looking for one makes no journal."""
    result = cli(command, "studoi", "--json")

    check_document("error", result.document)
    assert result.exit_code == 2
    assert "there is no batch studoi" in result.stderr
    assert list(home.rglob("*.db")) == []


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(cap_urls=1)])
def test_retry_takes_a_failed_entry_as_the_manifest_has_it_now(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """That entry alone, without update, and submitted as the run was to do."""
    bo = batch.entry("bo")
    batch.write(batch.entry("anna", video_multipart_count=2), bo)
    failed = cli("run", batch.manifest, "--submit")
    batch.write(batch.entry("anna", video_multipart_count=1), bo)

    result = cli("retry", "studio", "--json")

    check_document("run", result.document)
    assert (failed.exit_code, result.exit_code) == (8, 0)
    assert result.document["entries"]["done"] == 2
    assert 400_000 < result.document["bytes"]["sent"] < 500_000
    assert [(job.submissions, job.updates) for job in simulator.jobs] == [(1, 0), (1, 0)]


@QUICK
def test_an_entry_in_which_nothing_was_replaced_is_left_alone_until_it_is_named(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """The same footage would fail the same review; a person may know better."""
    batch.write(batch.entry("anna") | {"name": "review-fail"}, batch.entry("bo"))
    cli("run", batch.manifest, "--submit")
    cli("watch", "studio", "--interval", "0.01")

    alone, named = cli("retry", "studio"), cli("retry", "studio", "--entry", "anna")

    assert (alone.exit_code, named.exit_code) == (8, 0)
    assert "studio: 1 of 2 entries done, 1 review failed" in alone.stdout
    assert "review failed, and nothing was replaced since: anna; " in alone.stderr
    assert "`orchestrator retry studio --entry anna`" in alone.stderr
    assert "nothing to do" not in named.stdout
    assert sorted(job.submissions for job in simulator.jobs) == [1, 2]


@pytest.mark.usefixtures("simulator")
def test_a_manifest_that_is_gone_is_named_and_can_be_named_anew(cli: Cli, batch: Batch) -> None:
    """Exit 3; --manifest tells where it is."""
    cli("run", batch.manifest)
    moved = batch.manifest.with_name("moved.yaml")
    batch.manifest.rename(moved)

    gone, found = cli("retry", "studio", "--json"), cli("retry", "studio", "--manifest", moved, "--json")

    check_document("error", gone.document)
    assert gone.exit_code == 3
    assert f"the manifest of batch studio, {batch.manifest}, no longer exists" in gone.stderr
    assert (found.exit_code, found.document["batch"]) == (0, "studio")


@pytest.mark.usefixtures("simulator")
def test_an_entry_the_batch_has_not_is_a_wrong_usage(cli: Cli, batch: Batch) -> None:
    """With the nearest one it has."""
    cli("run", batch.manifest)

    result = cli("retry", "studio", "--entry", "ana")

    assert result.exit_code == 2
    assert "batch studio has no entry ana" in result.stderr
    assert "did you mean anna?" in result.stderr


def test_on_change_decides_for_a_changed_entry(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Update, which this service refuses while a job waits for files, or recreate."""
    cli("run", batch.manifest)
    batch.entry("anna", size=500_000)

    update = cli("run", batch.manifest, "--on-change", "update", "--json")
    recreate = cli("run", batch.manifest, "--on-change", "recreate", "--json")

    check_document("run", update.document)
    assert (update.exit_code, recreate.exit_code) == (9, 0)
    assert [entry["state"] for entry in recreate.document["results"]] == ["confirmed", "confirmed"]
    assert len(simulator.jobs) == 2
    assert sum(job.is_deleted for job in simulator.all_jobs) == 1


@pytest.mark.usefixtures("simulator")
def test_verify_object_insists_on_proof_of_delivery(cli: Cli, batch: Batch) -> None:
    """What is stored was compared with what was sent."""
    result = cli("run", batch.manifest, "--verify-object")

    assert result.exit_code == 0
    document = cli("status", "studio", "--json").document
    assert [entry["delivered"] for entry in document["results"]] == ["verified", "verified"]
