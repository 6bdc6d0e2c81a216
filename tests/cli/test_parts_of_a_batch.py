"""A part of a batch: the good entries of a manifest with errors, entries that are named, files that have settled."""

from __future__ import annotations

import os
import time

import pytest

from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli


def jobs(simulator: Simulator) -> list[str]:
    """The names of all jobs."""
    return sorted(job.name for job in simulator.jobs)


@pytest.mark.parametrize("fault", ["missing file", "wrong field", "same id"])
def test_skip_invalid_sends_the_good_entries_and_names_the_others(
    cli: Cli, batch: Batch, simulator: Simulator, fault: str
) -> None:
    """Exit 8; once it is fixed, the same command sends only the rest."""
    bad = batch.entry("cem")
    entries = [batch.entry("anna"), batch.entry("bo"), dict(bad)]
    if fault == "missing file":
        entries[2]["training_video"] = "none.mp4"
    elif fault == "wrong field":
        entries[2]["voice_properties"] = {"sex": "SOME"}
    else:
        entries.append({**bad, "name": "another"})
    batch.write(*entries)
    assert cli("run", batch.manifest).exit_code == 3
    assert jobs(simulator) == []

    result = cli("run", batch.manifest, "--skip-invalid", "--json")

    assert (result.exit_code, jobs(simulator)) == (8, ["anna", "bo"]), result.stderr
    assert "invalid, skipped: cem" in result.stderr
    assert any("invalid, skipped: cem" in warning for warning in result.document["warnings"])
    assert result.document["entries"]["done"] == 2
    assert "invalid, skipped, left alone by the last run: cem; " in cli("status", "studio").stdout
    batch.write(batch.entry("anna"), batch.entry("bo"), bad)
    assert cli("run", batch.manifest, "--skip-invalid").exit_code == 0
    assert jobs(simulator) == ["anna", "bo", "cem"]


def test_an_entry_that_became_invalid_is_left_alone_not_removed(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Its job and its place in the journal stay."""
    cli("run", batch.manifest)
    batch.write(batch.entry("anna"), {**batch.entry("bo"), "model_version": "none"}, batch.entry("cem"))

    result = cli("run", batch.manifest, "--skip-invalid", "--json")

    assert (result.exit_code, jobs(simulator)) == (8, ["anna", "bo", "cem"])
    assert "no longer in the manifest" not in result.stderr
    assert cli("status", "studio", "--json").document["entries"]["total"] == 3


@pytest.mark.usefixtures("simulator")
def test_skipped_entries_beside_a_decision_are_exit_8_and_the_decision_alone_9(
    cli: Cli, batch: Batch
) -> None:
    """Both are named by the first run; 9 would hide that entries were never sent."""
    cli("run", batch.manifest)
    changed, bad = batch.entry("anna", size=500_000), {**batch.entry("cem"), "model_version": "none"}
    bo = batch.entry("bo")
    batch.write(changed, bo, bad)

    both = cli("run", batch.manifest, "--skip-invalid")
    batch.write(changed, bo)
    decision = cli("run", batch.manifest, "--skip-invalid")

    assert (both.exit_code, decision.exit_code) == (8, 9)
    assert "invalid, skipped: cem" in both.stderr
    assert all("anna needs a decision" in result.stderr for result in (both, decision))


def test_an_error_of_the_whole_file_is_never_skipped(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """It may be about any entry."""
    batch.manifest.write_text(batch.manifest.read_text(encoding="utf-8") + "surprise: 1\n", encoding="utf-8")

    assert cli("run", batch.manifest, "--skip-invalid").exit_code == 3
    assert jobs(simulator) == []


def test_only_named_entries_are_run_and_the_others_stay_for_later(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Ids and globs; what is wrong with another entry is not in the way."""
    batch.write(
        batch.entry("av1"),
        batch.entry("av2"),
        batch.entry("bo"),
        {**batch.entry("cem"), "training_video": "no"},
    )

    assert cli("run", batch.manifest, "--entry", "av*").exit_code == 0
    assert jobs(simulator) == ["av1", "av2"]
    planned = cli("plan", batch.manifest, "--entry", "bo", "--json").document
    assert [entry["entry"] for entry in planned["entries"]] == ["bo"]
    assert planned["removed"] == []
    assert cli("run", batch.manifest, "--entry", "bo", "--entry", "av1").exit_code == 0
    assert jobs(simulator) == ["av1", "av2", "bo"]
    assert cli("cancel", "studio", "--entry", "av?", "--yes").exit_code == 0
    assert jobs(simulator) == ["bo"]
    assert cli("retry", "studio", "--entry", "av[12]").exit_code == 0
    assert jobs(simulator) == ["av1", "av2", "bo"]


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("command", ["run", "plan", "retry", "submit", "cancel"])
def test_a_pattern_that_fits_nothing_is_a_usage_error(cli: Cli, batch: Batch, command: str) -> None:
    """A typing mistake must not look like a good day."""
    cli("run", batch.manifest)
    subject = batch.manifest if command in {"run", "plan"} else "studio"
    flags = ("--yes",) if command == "cancel" else ()

    result = cli(command, subject, "--entry", "zz*", "--entry", "anna", *flags)

    assert result.exit_code == 2
    assert "zz*" in result.stderr


def test_files_that_are_still_written_are_left_for_the_next_run(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """They are named and change no exit code, even where a half-written film would be an error."""
    batch.write(batch.entry("anna"), batch.entry("bo"))
    long_ago = time.time() - 3600
    for path in batch.folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    film = batch.folder / "bo.mp4"
    whole = film.read_bytes()
    film.write_bytes(whole[:200_000])

    result = cli("run", batch.manifest, "--min-age", "2m", "--json")

    assert (result.exit_code, jobs(simulator)) == (0, ["anna"]), result.stderr
    assert any("bo" in warning for warning in result.document["warnings"])
    assert "left for the next run: bo" in result.stderr
    film.write_bytes(whole)
    os.utime(film, (long_ago, long_ago))
    assert cli("run", batch.manifest, "--min-age", "2m").exit_code == 0
    assert jobs(simulator) == ["anna", "bo"]


def test_only_named_jobs_are_submitted(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """A submitted job can hardly be taken back."""
    cli("run", batch.manifest)

    assert cli("submit", "studio", "--entry", "a*").exit_code == 0

    assert {job.name: job.submissions for job in simulator.jobs} == {"anna": 1, "bo": 0}
