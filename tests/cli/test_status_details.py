"""`status` down to one entry, and by state."""

from __future__ import annotations

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, Cli
from tests.cli.documents import check_document

ONE_FAILS = pytest.mark.parametrize("simulator_options", [SimulatorOptions(cap_urls=1)])


def test_an_entry_tells_its_files_transitions_and_failed_attempts(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """To people and as a document; nothing secret."""
    simulator.faults.script("put", ["slow-down"])
    cli("run", batch.manifest, "-j", "1", "-p", "1", "--part-size", "200K")

    result, table = (
        cli("status", "studio", "--entry", "anna", "--json"),
        cli("status", "studio", "--entry", "anna"),
    )

    document = result.document
    check_document("status-entry", document)
    (attempt,) = document["attempts"]
    assert (attempt["attempt"], attempt["code"]) == (1, "SlowDown")
    assert attempt["asset"]
    assert attempt["request_id"]
    assert [step["to"] for step in document["transitions"]] == [
        *("creating", "uploading", "uploaded", "confirming", "confirmed")
    ]
    video = document["assets"][0]
    assert (video["asset"], video["segments"], video["segments_stored"]) == ("training_video", 2, 2)
    assert video["bytes_stored"] == video["bytes"] == 400_000
    assert document["delivered"] == "verified"
    for told in ("training_video", "2/2", "SlowDown", attempt["request_id"], "verified", "confirming"):
        assert told in table.stdout
    assert [secret for secret in SECRETS if secret in result.stdout + table.stdout] == []


@ONE_FAILS
@pytest.mark.usefixtures("simulator")
def test_failed_entries_alone_or_those_in_some_states(cli: Cli, batch: Batch) -> None:
    """The counts are those of the whole batch."""
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))
    cli("run", batch.manifest)

    failed = cli("status", "studio", "--failed", "--json").document
    confirmed = cli("status", "studio", "--in-state", "confirmed", "--in-state", "trained", "--json").document
    table = cli("status", "studio", "--failed").stdout

    for document in (failed, confirmed):
        check_document("status", document)
        assert document["entries"] == {"total": 2, "confirmed": 1, "failed": 1}
    assert [entry["entry"] for entry in failed["results"]] == ["anna"]
    assert [entry["entry"] for entry in confirmed["results"]] == ["bo"]
    assert "bo  " not in table
    assert failed["results"][0]["error"]["message"] in table


@pytest.mark.usefixtures("simulator")
def test_an_entry_the_manifest_has_no_more_can_still_be_looked_at(cli: Cli, batch: Batch) -> None:
    """Its job is still there."""
    cli("run", batch.manifest)
    batch.write(batch.entry("bo"))
    cli("run", batch.manifest)

    document = cli("status", "studio", "--entry", "anna", "--json").document

    check_document("status-entry", document)
    assert (document["is_in_manifest"], document["state"]) == (False, "confirmed")


@pytest.mark.usefixtures("simulator")
def test_what_cannot_be_shown_is_a_wrong_usage(cli: Cli, batch: Batch) -> None:
    """Exit 2, with a document and a way out."""
    cli("run", batch.manifest)
    complaints = {
        ("--failed",): "need the name of a batch",
        ("--entry", "anna"): "need the name of a batch",
        ("studio", "--entry", "ana"): "did you mean anna?",
        ("studio", "--entry", "anna", "--summary"): "--summary shows no entries",
        ("studio", "--in-state", "asleep"): "review_failed",
        ("studio", "--state", "failed"): "--in-state failed",
    }

    for arguments, complaint in complaints.items():
        result = cli("status", *arguments, "--json")

        check_document("error", result.document)
        assert result.exit_code == 2
        assert complaint in result.stderr
