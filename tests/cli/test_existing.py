"""`--on-existing`: a journal that is gone, seen from the command line, and the way out its message names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document
from tests.strangers import Untouched


def journal_in(home: Path) -> Path:
    """The one journal."""
    (journal,) = home.rglob("*.db")
    return journal


def test_the_way_out_of_a_damaged_journal_works(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """Move it away and adopt, as its message says: the jobs stay, and no other is made."""
    cli("run", batch.manifest)
    jobs = {job.job_id for job in simulator.all_jobs}
    journal = journal_in(home)
    journal.write_bytes(b"not a journal any more" * 1000)

    damaged = cli("run", batch.manifest)
    journal.rename(journal.with_name("damaged"))
    adopted = cli("run", batch.manifest, "--on-existing", "adopt", "--json")

    assert damaged.exit_code == 4
    assert "move the file away and run with --on-existing adopt" in damaged.stderr
    check_document("run", adopted.document)
    assert (adopted.exit_code, adopted.document["entries"]["done"]) == (0, 2)
    assert {result["job_id"] for result in adopted.document["results"]} == jobs
    assert {job.job_id for job in simulator.all_jobs} == jobs


def test_jobs_that_exist_are_results_that_need_a_decision(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """Exit 9, nothing made; `status` names them too, and `retry` takes the flag as well."""
    cli("run", batch.manifest)
    jobs = {job.name: job.job_id for job in simulator.all_jobs}
    journal_in(home).unlink()

    shown = cli("run", batch.manifest)
    planned = cli("plan", batch.manifest, "--on-existing", "adopt", "--json")
    asked = cli("run", batch.manifest, "--json")
    status = cli("status", "studio", "--json")
    created = cli("retry", "studio", "--entry", "anna", "--on-existing", "create", "--json")

    check_document("run", asked.document)
    assert planned.exit_code == 0
    assert "hint: run again with --on-existing adopt" in shown.stdout
    assert "2 need a decision" in shown.stderr
    assert (asked.exit_code, created.exit_code) == (9, 9)
    for document in (asked.document, status.document):
        for result in document["results"]:
            assert result["error"]["kind"] == "decision_needed"
            assert jobs[result["entry"]] in result["error"]["message"]
            assert "--on-existing adopt" in result["error"]["hint"]
    assert sorted(job.name for job in simulator.all_jobs) == ["anna", "anna", "bo"]


def test_commands_that_only_read_ask_the_service_nothing(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Whatever else is on it."""
    cli("run", batch.manifest)
    strangers, asked = Untouched.of(simulator), dict(simulator.stats.requests)

    codes = [
        cli("results", "studio").exit_code,
        cli("status", "studio").exit_code,
        cli("status").exit_code,
        cli("plan", batch.manifest, "--on-existing", "adopt").exit_code,
        cli("run", batch.manifest, "--dry-run", "--on-existing", "adopt").exit_code,
        cli("validate", batch.manifest).exit_code,
    ]

    strangers.check()
    assert codes == [0] * len(codes)
    assert simulator.stats.requests == asked
