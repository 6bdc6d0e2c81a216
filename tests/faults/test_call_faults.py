"""What the service can do to a call: each passing fault ends in one job per entry, confirmed and submitted once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import Point
from orchestrator.simulator import SimulatorOptions, World
from tests.faults.conftest import Trial

NOT_DONE = (
    "reset-api",
    "error-500-api",
    "throttle-429",
    "throttle-429-seconds",
    "throttle-429-date",
    "stall-api",
)
DONE = ("lost-answer-api", "truncated-json", "close-keepalive-api")
ERROR_BODIES = ("false-refusal", "ok-with-error-body")
COMMANDS = ("confirm", "confirm-action", "submit", "confirm-letter")
CALLS = ("create", "list-parts", "list-action-parts", "show", *COMMANDS)


@pytest.mark.parametrize("fault", [*NOT_DONE, *DONE, *ERROR_BODIES])
async def test_a_call_that_fails_or_whose_answer_is_lost_is_healed(trial: Trial, fault: str) -> None:
    """Whichever call it is, the service is asked what it did; nothing is done twice, no file is sent again."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("action_video", "grant_file"))
    trial.rig.settings = replace(trial.rig.settings, is_submit_wanted=True)
    if fault == "stall-api":
        trial.rig.service = {**trial.rig.service, "api_timeout": 0.3}
    struck = COMMANDS if fault in ERROR_BODIES else CALLS
    for operation in struck:
        trial.rig.simulator.faults.script(operation, [fault])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries, submissions=1)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())
    assert trial.rig.simulator.faults.counts[fault] == len(struck)


@pytest.mark.parametrize(
    "simulator_options", [SimulatorOptions(world=World(update_allowed="always"))], ids=[""]
)
@pytest.mark.parametrize("fault", ["lost-update", "truncated-json", "reset-api", "error-500-api"])
async def test_an_update_whose_answer_is_lost_is_asked_for_again(trial: Trial, fault: str) -> None:
    """The orphan of a lost create is taken over by the second update."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("create", ["lost-create"])
    trial.rig.simulator.faults.script("update", [fault])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 1


@pytest.mark.parametrize("fault", ["lost-delete", "reset-api", "error-500-api", "throttle-429"])
async def test_a_delete_whose_answer_is_lost_leaves_one_job(trial: Trial, fault: str) -> None:
    """The second delete finds the orphan gone, which is what was wanted."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("create", ["lost-create"])
    trial.rig.simulator.faults.script("delete", [fault])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 2


async def test_a_create_that_arrives_late_is_found_before_another_is_made(trial: Trial) -> None:
    """A request that was cut off may still be on its way when its tag is first looked for."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("create", ["lost-create"])
    service = trial.rig.simulator.service
    on_its_way: dict[str, Any] = {}

    def hold_up() -> None:
        on_its_way.update(service.jobs)
        service.jobs.clear()

    trial.at(Point.LIST.before, hold_up)
    trial.at(Point.LIST.after, lambda: service.jobs.update(on_its_way))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.points(Point.LIST.after) == 2


@pytest.mark.parametrize("is_one_time", [True, False], ids=["one-time", "overwrite"])
async def test_a_service_that_forgets_a_part_is_sent_it_again(trial: Trial, is_one_time: bool) -> None:
    """Right before the confirm the service is asked once more; a used URL then calls for a new job."""
    entries = trial.rig.make_entries(1, size=600_000)
    trial.at(Point.WRITE_UPLOADED.after, lambda: forget_part(trial, 2))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == (2 if is_one_time else 1)


@pytest.mark.parametrize("is_one_time", [False], ids=["overwrite"])
@pytest.mark.timeout(20)
async def test_a_service_that_never_keeps_a_part_is_given_up(trial: Trial, is_one_time: bool) -> None:
    """The part is sent as often as a request has attempts, not for ever, and nothing is confirmed."""
    trial.rig.make_entries(1, size=600_000)
    for occurrence in range(1, 100):
        trial.at(Point.WRITE_UPLOADED.after, lambda: forget_part(trial, 2), occurrence=occurrence)

    report = await trial.run()

    assert report.exit_code == ExitCode.TEMPORARY
    assert trial.points(Point.WRITE_UPLOADED.after) == trial.rig.policy.attempts
    assert not trial.only_job().confirmations


def forget_part(trial: Trial, number: int) -> None:
    """Let the store lose a part that it has acknowledged."""
    for upload in trial.rig.simulator.store.uploads.values():
        upload.parts.pop(number, None)


@pytest.fixture
def simulator_options(request: pytest.FixtureRequest) -> SimulatorOptions:
    """Overwrite where a test's own parameters say so."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    is_one_time = parameters.get("is_one_time", True)
    return SimulatorOptions(world=World(put_again="refused" if is_one_time else "overwrite"))


async def test_a_confirm_that_failed_for_good_is_checked_and_repeated_by_the_next_run(trial: Trial) -> None:
    """The run gave up with the confirm under way; the next one asks, then confirms."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("confirm", ["error-500-api"] * 8)
    given_up = await trial.run()

    report = await trial.run()

    assert given_up.exit_code == ExitCode.TEMPORARY
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    record = (await trial.rig.entries())["avatar-0"]
    assert (record.state, record.error) == (EntryState.CONFIRMED, None)


async def test_a_job_deleted_in_the_console_is_made_anew(trial: Trial) -> None:
    """There is nothing to confirm and nothing to decide: only a new job can take the files."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("confirm", ["error-500-api"] * 8)
    await trial.run()
    await trial.rig.simulator.service.delete(trial.only_job().job_id)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)


TAKEN = "UPDATE entries SET epoch = epoch + 1"
TAKEN_AND_SETTLED = f"{TAKEN}, state = 'pending', create_tag = NULL"
TAKEN_AND_FOUND = f"{TAKEN}, state = 'uploading', job_id = :job_id"


@pytest.mark.parametrize(
    ("taken", "jobs"),
    [
        pytest.param(TAKEN_AND_SETTLED, 0, id="the other found no job"),
        pytest.param(TAKEN, 1, id="the other will look for its tag"),
        pytest.param(TAKEN_AND_FOUND, 1, id="the other has it"),
    ],
)
async def test_a_worker_that_loses_its_entry_during_the_create_leaves_no_orphan(
    trial: Trial, taken: str, jobs: int
) -> None:
    """It deletes the job it made unless an entry owns it or its tag."""
    trial.rig.make_entries(1, size=200_000)

    def take() -> None:
        with closing(sqlite3.connect(trial.rig.state, isolation_level=None)) as journal:
            journal.execute(taken, {"job_id": trial.only_job().job_id} if ":job_id" in taken else {})

    trial.at(Point.CREATE.after, take)

    await trial.run()

    assert len(trial.rig.simulator.jobs) == jobs


async def test_a_page_in_place_of_an_answer_to_a_delete_leaves_no_second_job(trial: Trial) -> None:
    """The orphan is not gone because a proxy says 404: nothing new is made before it is deleted."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("create", ["lost-create"])
    trial.rig.simulator.faults.script("delete", ["page-404-api"])

    stopped = await trial.run()
    jobs = len(trial.rig.simulator.jobs)
    report = await trial.run()

    assert (stopped.exit_code, jobs) == (ExitCode.SOME_FAILED, 1)
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.jobs) == 1


@pytest.mark.parametrize(("fault", "state"), [("page-404-api", "submitted"), (None, "cancelled")])
async def test_a_page_does_not_make_a_job_count_as_deleted(
    trial: Trial, fault: str | None, state: str
) -> None:
    """A job that is not listed is only given up when the service itself knows it no more."""
    trial.rig.make_entries(1, size=200_000)
    trial.rig.settings = replace(trial.rig.settings, is_submit_wanted=True)
    await trial.run()
    trial.rig.simulator.service.jobs.clear()
    trial.rig.simulator.faults.script("show", [fault])

    await trial.follow()

    assert (await trial.rig.entries())["avatar-0"].state == state


async def test_a_page_in_place_of_the_store_replaces_no_job(trial: Trial) -> None:
    """A bare 404 says nothing about the upload URL; the entry fails, and the next run goes on with the same job."""
    entries = trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("put", ["page-404"])

    failed = await trial.run()
    report = await trial.run()

    assert failed.exit_code == ExitCode.SOME_FAILED
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 1
