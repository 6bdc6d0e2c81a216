"""Every command's document is what its published schema says, when it works and when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pages.reference import all_commands

from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import SCHEMAS, check_document, published
from tests.cli.test_run import DEAD_ENDPOINT

#: By command; those that share one write the same document.
SCHEMA_OF = {
    **{
        name: name
        for name in (
            "init",
            "validate",
            "plan",
            "status",
            "watch",
            "cancel",
            "results",
            "report",
            "clean",
            "explain",
            "docs",
            "doctor",
            "verify",
            "enqueue",
            "work",
        )
    },
    "install": "fleet-install",
    "release": "fleet-release",
    **dict.fromkeys(("run", "submit", "retry", "demo"), "run"),
    "simulate": "simulate",
    "show": "config-show",
}
#: Prints a JSON Schema, not a document about something.
NO_DOCUMENT = {"schema"}


def test_every_command_has_a_published_schema() -> None:
    """And every schema is a valid one, of some command or of an error."""
    commands = {name.split()[-1] for name, _ in all_commands()}
    names = {path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir()}

    assert commands - NO_DOCUMENT == SCHEMA_OF.keys()
    assert names == {
        *SCHEMA_OF.values(),
        "fleet-status",
        "status-entry",
        "status-reviews",
        "status-runs",
        "events",
        "error",
    }
    for name in names:
        Draft202012Validator.check_schema(published(name))


@pytest.mark.usefixtures("simulator")
def test_documents_of_a_good_day(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """Each command once; what needs a special day is checked where that day is tested."""
    check_document("init", cli("init", tmp_path / "new.yaml", "--json").document)
    check_document("validate", cli("validate", batch.manifest, "--json").document)
    check_document("plan", cli("plan", batch.manifest, "--rate", "10M", "--json").document)
    check_document("run", cli("run", batch.manifest, "--json").document)
    check_document("plan", cli("run", batch.manifest, "--dry-run", "--json").document)
    check_document("status", cli("status", "--json").document)
    check_document("status", cli("status", "studio", "--json").document)
    check_document("status-entry", cli("status", "studio", "--entry", "bo", "--json").document)
    check_document("status-reviews", cli("status", "--reviews", "--json").document)
    check_document("status-runs", cli("status", "studio", "--runs", "--json").document)
    check_document("watch", cli("watch", "studio", "--until", "submitted", "--json").document)
    check_document("run", cli("retry", "studio", "--json").document)
    check_document("run", cli("submit", "studio", "--json").document)
    check_document("results", cli("results", "studio", "--json").document)
    page = cli("report", "studio", "-o", tmp_path / "page.html", "--no-pictures", "--json")
    check_document("report", page.document)
    check_document("clean", cli("clean", "--older-than", "1d", "--dry-run", "--json").document)
    check_document("verify", cli("verify", "studio", "--json").document)
    check_document("doctor", cli("doctor", batch.manifest, "--json").document)
    check_document("explain", cli("explain", "--all", "--json").document)
    check_document("docs", cli("docs", "--json").document)
    check_document("docs", cli("docs", "running", "--json").document)
    check_document("config-show", cli("config", "show", batch.manifest, "--json").document)


def test_documents_of_bad_days(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Whatever stops a command, its document says which exit code it has and why."""
    unreachable = cli("run", batch.manifest, "--endpoint", DEAD_ENDPOINT, "--max-outage", "0", "--json")
    check_document("run", unreachable.document)
    assert (unreachable.exit_code, unreachable.document["error"]["kind"]) == (5, "unreachable")

    cli("run", batch.manifest)
    (batch.folder / "anna.pdf").unlink()
    batch.manifest.write_text(batch.manifest.read_text() + "surprise: 1\n")
    invalid = cli("validate", batch.manifest, "--json")
    check_document("validate", invalid.document)
    failures = {
        2: cli("run", "--jobs", "many", batch.manifest, "--json"),
        3: cli("run", batch.manifest, "--json"),
        4: cli("submit", "studio", "--config", batch.folder / "none.toml", "--json"),
    }
    for exit_code, result in failures.items():
        check_document("error", result.document)
        assert result.exit_code == result.document["exit_code"] == exit_code
    assert failures[3].document["problems"]
    check_document("error", cli("plan", batch.manifest, "--json").document)
    check_document("error", cli("frobnicate", "--json").document)
    assert [job.submissions for job in simulator.jobs] == [0, 0]


@pytest.mark.usefixtures("simulator")
def test_a_plan_names_the_entries_the_manifest_has_no_more(cli: Cli, batch: Batch) -> None:
    """A run leaves them alone."""
    cli("run", batch.manifest)
    batch.write(batch.entry("bo"))

    document, told = cli("plan", batch.manifest, "--json").document, cli("plan", batch.manifest).stdout

    check_document("plan", document)
    assert document["removed"] == ["anna"]
    assert "no longer in the manifest, and left alone: anna" in told
