"""`watch`: what it shows, and how it ends."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.work.watch import Board, count_groups, states_in
from orchestrator.domain.states import EntryState, JobGroup
from orchestrator.engine.events import JobStateChanged
from orchestrator.journal.sqlite import hold_batch_lock
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document
from tests.cli.test_run import DEAD_ENDPOINT

QUICK = pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])


@QUICK
@pytest.mark.usefixtures("simulator")
def test_every_change_is_a_line_and_the_end_a_summary(cli: Cli, batch: Batch) -> None:
    """Not on a terminal."""
    cli("run", batch.manifest, "--submit")

    result = cli("watch", "studio", "--interval", "0.01")

    assert result.exit_code == 0
    *changes, summary = result.stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in changes] == [
        "anna: done (JOB_SUCCESS)",
        "bo: done (JOB_SUCCESS)",
    ]
    assert summary == "studio: 2 done"


@QUICK
@pytest.mark.usefixtures("simulator")
def test_a_failed_review_is_told_with_reason_and_code(cli: Cli, batch: Batch) -> None:
    """In the document, and to people on stderr beside it; the others got there: exit 8."""
    batch.write(batch.entry("anna") | {"name": "review-fail"}, batch.entry("bo"))
    cli("run", batch.manifest, "--submit")

    result = cli("watch", "studio", "--interval", "0.01", "--json")

    check_document("watch", result.document)
    assert result.exit_code == result.document["exit_code"] == 8
    assert result.document["groups"] == {"review failed": 1, "done": 1}
    anna = result.document["entries"][0]
    assert (anna["state"], anna["service_state"], anna["review_code"]) == (
        "review_failed",
        "AUTO_VERIFY_FAILED",
        "44005901",
    )
    assert anna["review_reason"] in result.stderr


@pytest.mark.usefixtures("simulator")
def test_a_timeout_shows_how_many_jobs_are_missing(cli: Cli, batch: Batch) -> None:
    """Exit 5; the same command continues."""
    cli("run", batch.manifest, "--submit")

    result = cli("watch", "studio", "--timeout", "0.05s", "--interval", "0.02", "--json")
    for_people = cli("watch", "studio", "--timeout", "0.05s", "--interval", "0.02")

    check_document("watch", result.document)
    assert result.exit_code == for_people.exit_code == 5
    assert result.document["groups"] == {"under review": 2}
    assert ": 2 of 2 jobs are not trained yet; run the same command again" in for_people.stderr


@pytest.mark.usefixtures("simulator")
def test_submitted_is_enough_when_asked_for(cli: Cli, batch: Batch) -> None:
    """--until submitted."""
    cli("run", batch.manifest)
    before = cli("watch", "studio", "--until", "submitted")
    cli("submit", "studio")

    after = cli("watch", "studio", "--until", "submitted")

    assert (before.exit_code, after.exit_code) == (8, 0)
    assert "orchestrator submit studio" in before.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_and_it_can_be_started_again(
    cli: Cli, batch: Batch, simulator: Simulator, number: signal.Signals, code: int
) -> None:
    """With its document, and the journal as it was seen."""
    cli("run", batch.manifest, "--submit")
    threading.Thread(target=_stop_once_it_asked, args=(simulator, number)).start()

    stopped = cli("watch", "studio", "--interval", "30", "--json")
    again = cli("watch", "studio", "--timeout", "0.01", "--interval", "0.01", "--json")

    check_document("watch", stopped.document)
    assert stopped.exit_code == stopped.document["exit_code"] == code
    assert stopped.document["groups"] == {"under review": 2}
    assert again.exit_code == 5


def _stop_once_it_asked(simulator: Simulator, number: signal.Signals) -> None:
    asked = simulator.stats.requests["list"]
    while simulator.stats.requests["list"] == asked:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(os.getpid(), number)


@pytest.mark.usefixtures("simulator")
def test_beside_a_run_that_uploads_nothing_is_stuck(cli: Cli, batch: Batch, home: Path) -> None:
    """Its lock says that it works; `status` names it, and both take nothing away from it."""
    cli("run", batch.manifest)
    (lock,) = home.rglob("*.lock")
    watch = ("watch", "studio", "--until", "submitted", "--timeout", "0.05s", "--interval", "0.01")

    with hold_batch_lock(lock):
        beside, status = cli(*watch), cli("status", "studio")
        second = cli("run", batch.manifest)
    after = cli(*watch)

    assert (beside.exit_code, second.exit_code, after.exit_code) == (5, 6, 8)
    assert f"running (process {os.getpid()} on " in status.stdout


@pytest.mark.usefixtures("simulator")
def test_a_service_that_is_not_there_ends_with_five(cli: Cli, batch: Batch) -> None:
    """Whoever starts it wants to know; a service that goes later is asked again."""
    cli("run", batch.manifest)

    result = cli("watch", "studio", "--api-attempts", "1", "--json")
    unreachable = cli("run", batch.manifest, "--endpoint", DEAD_ENDPOINT, "--max-outage", "0")
    dead = cli("watch", "studio", "--endpoint", DEAD_ENDPOINT, "--api-attempts", "1", "--json")

    assert (result.exit_code, unreachable.exit_code) == (8, 5)
    check_document("error", dead.document)
    assert dead.exit_code == 5


@pytest.mark.parametrize("flag", ["--interval", "--timeout"])
def test_a_time_that_is_none_is_a_wrong_usage(cli: Cli, flag: str) -> None:
    """With what one looks like."""
    result = cli("watch", "studio", flag, "soon")

    assert result.exit_code == 2
    assert f"{flag}: 'soon' is not a time; write for example 30d" in result.stderr
    assert cli("watch", "studio", "--interval", "0").exit_code == 2


def test_a_state_nobody_knows_is_training_under_its_own_name() -> None:
    """The service invents states."""
    counts = {
        (EntryState.TRAINING, "BRAND_NEW"): 2,
        (EntryState.TRAINING, "TRAINING"): 5,
        (EntryState.TRAINING, "WAIT_USER_CONFIRM"): 1,
        (EntryState.CREATING, None): 3,
        (EntryState.CONFIRMED, "AUTO_VERIFY_FAILED"): 1,
    }

    groups = {"not uploaded": 3, "to submit": 1, "training": 7, "awaiting user review": 1}
    assert count_groups(counts) == groups
    assert list(count_groups(counts)) == list(groups)
    assert states_in("training", counts) == "TRAINING 5, BRAND_NEW 2"


def test_a_terminal_shows_the_groups_and_leaves_changes_above() -> None:
    """And is given back."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, height=40)
    event = JobStateChanged(
        batch="studio",
        entry="anna",
        job_id="1",
        service_state="AUTO_VERIFY_FAILED",
        group=JobGroup.REVIEW_FAILED,
        reason="too [dark]",
        code="1",
    )

    with Board("studio", console) as board:
        board(event)
        board.show({(EntryState.TRAINING, "BRAND_NEW"): 2, (EntryState.TRAINED, "JOB_SUCCESS"): 1}, 90)

    shown = stream.getvalue()
    assert "anna: review failed (AUTO_VERIFY_FAILED): too [dark] (1)" in shown
    assert "BRAND_NEW 2" in shown
    assert "next check in 1:30; Ctrl-C stops watching, nothing is lost" in shown
    assert shown.index("training") < shown.index("done")


def test_where_jobs_stand_at_the_start_is_in_the_table_alone() -> None:
    """Changes after it leave lines, and failed reviews always do; no line is folded in 80 columns."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    done = JobStateChanged(
        batch="studio",
        entry="anna",
        job_id="j1",
        service_state="JOB_SUCCESS",
        group=JobGroup.DONE,
        reason=None,
        code=None,
    )
    failed = JobStateChanged(
        batch="studio",
        entry="bo",
        job_id="j2",
        service_state="AUTO_VERIFY_FAILED",
        group=JobGroup.REVIEW_FAILED,
        reason="blurred",
        code=None,
    )

    with Board("studio", console) as board:
        board(done)
        board(failed)
        board.show({(EntryState.TRAINED, "JOB_SUCCESS"): 1}, 15.0)
        board(done)

    printed = stream.getvalue()
    assert printed.count("anna: done") == 1
    assert "bo: review failed" in printed
    assert "Ctrl-C stops watching, nothing is lost" in printed
