"""The rest of a batch's life: submit, follow, mend, change, take back, tidy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import Change, EntryState
from orchestrator.engine.cancelling import Canceller
from orchestrator.engine.cleaning import Origin, finished_batches, leftover_jobs
from orchestrator.engine.events import EventBus, JobStateChanged, SegmentStored
from orchestrator.engine.following import Follower, Milestone, PollPace
from orchestrator.engine.service_connection import connect
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.simulator import Simulator, SimulatorOptions
from orchestrator.simulator.footage import write_footage
from tests.rig import BATCH, Rig, no_sleep

SUBMIT = {"is_submit_wanted": True}


class Clock:
    """The simulator's time, which stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock for simulator and engine."""
    return Clock()


@pytest.fixture
async def rig(tmp_path: Path, clock: Clock) -> AsyncIterator[Rig]:
    """A batch folder and a simulator whose reviews take time on *clock* only."""
    folder = tmp_path / "studio"
    folder.mkdir()
    async with Simulator(SimulatorOptions(), data=tmp_path / "simulator", clock=clock) as simulator:
        yield Rig(simulator=simulator, folder=folder, clock=clock)


@asynccontextmanager
async def connected(rig: Rig) -> AsyncIterator[tuple[Journal, MetaStudioClient, BatchKey]]:
    """The journal and a client, as the commands after the upload have them."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        yield journal, connection.client, BatchKey(connection.endpoint, connection.project_id, BATCH)


async def watch(rig: Rig, milestone: Milestone, *, step: float = 600.0, timeout: float = 1e6) -> ExitCode:
    """Follow the batch; every wait moves the clock by *step* seconds."""
    clock = rig.clock

    async def sleep(_: float) -> None:
        clock.now += step
        await no_sleep(0)

    async with connected(rig) as (journal, client, key):
        follower = Follower(journal, client, EventBus(rig.events.append), key)
        return await follower.follow(
            milestone, pace=PollPace(), timeout_seconds=timeout, monotonic=clock, sleep=sleep
        )


async def test_a_batch_goes_from_upload_to_trained(rig: Rig) -> None:
    """Upload, submit, review, training."""
    rig.make_entries(2, kinds=("grant_file",))

    report = await rig.run(settings=SUBMIT)
    exit_code = await watch(rig, Milestone.TRAINED)

    assert report.exit_code == exit_code == ExitCode.OK
    assert {record.state for record in (await rig.entries()).values()} == {EntryState.TRAINED}
    assert [job.submissions for job in rig.simulator.jobs] == [1, 1]
    assert [job.letters_confirmed for job in rig.simulator.jobs] == [1, 1]


async def test_submit_hands_over_what_was_uploaded_and_never_twice(rig: Rig) -> None:
    """Two submits make one submission."""
    rig.make_entries(2)
    await rig.run()

    first, second = await rig.submit(), await rig.submit()

    assert (first.exit_code, second.exit_code) == (ExitCode.OK, ExitCode.OK)
    assert [job.submissions for job in rig.simulator.jobs] == [1, 1]


async def test_a_failed_review_tells_its_reason_and_retry_amends_the_replaced_footage(rig: Rig) -> None:
    """The reviewer's word reaches the operator; the mended entry is trained."""
    entry = rig.make_entry("anna", size=300_000)
    rig.write_batch([{**entry, "name": "review-fail anna"}])
    await rig.run(settings=SUBMIT)

    refused = await watch(rig, Milestone.TRAINED)
    failed = (await rig.entries())["anna"]
    write_footage(rig.folder / entry["training_video"], size=320_000, seed=99)
    report = await rig.retry()
    trained = await watch(rig, Milestone.TRAINED)

    assert refused == ExitCode.SOME_FAILED
    assert failed.state is EntryState.REVIEW_FAILED
    async with open_journal(str(rig.state), clock=rig.clock) as journal:
        kept = await journal.reviews()
    assert [(one.entry_id, one.is_passed, one.reason) for one in kept if not one.is_passed] == [
        (failed.entry_id, False, failed.review_reason)
    ]
    assert failed.review_code == "44005901"
    assert failed.review_reason
    assert (report.exit_code, trained) == (ExitCode.OK, ExitCode.OK)
    (job,) = rig.simulator.jobs
    assert job.updates == 1
    assert job.objects["training_video"].read_bytes() == (rig.folder / entry["training_video"]).read_bytes()


async def test_retry_sends_only_what_was_replaced_and_the_videos(rig: Rig) -> None:
    """Single files that are stored as they are now stay."""
    entry = rig.make_entry("anna", size=300_000, kinds=("cover", "id_card_image1"))
    rig.write_batch([{**entry, "name": "review-fail anna"}])
    await rig.run(settings=SUBMIT)
    await watch(rig, Milestone.TRAINED)
    rig.events.clear()

    write_footage(rig.folder / entry["training_video"], size=310_000, seed=7)
    await rig.retry()

    assert {event.asset for event in rig.events_of(SegmentStored)} == {"training_video"}


async def test_retry_leaves_an_entry_alone_in_which_nothing_was_replaced(rig: Rig) -> None:
    """The same footage would fail the same review."""
    entry = rig.make_entry("anna", size=300_000)
    rig.write_batch([{**entry, "name": "review-fail anna"}])
    await rig.run(settings=SUBMIT)
    await watch(rig, Milestone.TRAINED)

    await rig.retry()

    assert (await rig.entries())["anna"].state is EntryState.REVIEW_FAILED
    assert rig.simulator.jobs[0].updates == 0


async def test_following_300_jobs_takes_at_most_four_requests_a_poll(rig: Rig) -> None:
    """One list call shows a hundred jobs."""
    async with connected(rig) as (journal, client, key):
        await journal.start_run(key, manifest_path=None, is_submit_wanted=False, run_id="r")
        spec = '{"name": "a", "training_video": "/a.mp4"}'
        await journal.add_entries(key.digest, ((number, f"a{number}", spec, ()) for number in range(300)))
        async for record in journal.entries(key.digest):
            job = await client.create_job({"name": record.entry_id, "batch_name": BATCH})
            await journal.set_facts(record, job_id=job.job_id, confirmed_at=1.0)
        before = rig.simulator.stats.requests.copy()

        await Follower(journal, client, EventBus(), key).poll()

        states = {record.service_state async for record in journal.entries(key.digest)}
    assert states == {"WAIT_FILE_UPLOAD"}
    assert sum((rig.simulator.stats.requests - before).values()) <= 4


async def test_watch_gives_up_after_its_timeout(rig: Rig) -> None:
    """Exit 5: run it again later."""
    rig.make_entries(1)
    await rig.run(settings=SUBMIT)

    exit_code = await watch(rig, Milestone.TRAINED, step=0.01, timeout=0.05)

    assert exit_code == ExitCode.TEMPORARY


async def test_watch_says_that_unsubmitted_jobs_need_somebody(rig: Rig) -> None:
    """Nothing moves by itself before submit."""
    rig.make_entries(1)
    await rig.run()

    assert await watch(rig, Milestone.REVIEWED) == ExitCode.SOME_FAILED


async def test_every_change_of_a_job_is_one_event(rig: Rig) -> None:
    """Watching the same state twice says nothing new."""
    rig.make_entries(1)
    await rig.run(settings=SUBMIT)
    await watch(rig, Milestone.TRAINED)

    states = [event.service_state for event in rig.events_of(JobStateChanged)]

    assert states[-1] == "JOB_SUCCESS"
    assert len(states) == len(set(states))


async def test_a_changed_entry_waits_for_a_decision(rig: Rig) -> None:
    """Its job exists: nothing is done about it unasked, and the others go on."""
    entries = rig.make_entries(2)
    await rig.run()
    write_footage(rig.folder / entries[0]["training_video"], size=700_000, seed=3)

    report = await rig.run()

    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert list(report.undecided) == ["avatar-0"]
    assert "training_video" in report.undecided["avatar-0"]
    assert report.tally.sent_segments == 0


async def test_on_change_recreate_makes_the_job_anew(rig: Rig) -> None:
    """The old job goes, the new one has the new file."""
    entries = rig.make_entries(2)
    await rig.run()
    write_footage(rig.folder / entries[0]["training_video"], size=700_000, seed=3)

    report = await rig.run(settings={"on_change": Change.RECREATE})

    assert report.exit_code == ExitCode.OK
    rig.assert_delivered(entries)
    assert sum(job.is_deleted for job in rig.simulator.all_jobs) == 1


async def test_on_change_update_that_the_service_refuses_asks_for_a_decision(rig: Rig) -> None:
    """The job stays as it was."""
    entries = rig.make_entries(1)
    await rig.run()
    write_footage(rig.folder / entries[0]["training_video"], size=700_000, seed=3)

    report = await rig.run(settings={"on_change": Change.UPDATE})

    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert len(rig.simulator.jobs) == len(rig.simulator.all_jobs) == 1


async def test_a_file_that_only_moved_is_no_change(rig: Rig) -> None:
    """Footage that was put elsewhere is the same footage."""
    entries = rig.make_entries(1)
    await rig.run()
    (rig.folder / "archive").mkdir()
    moved = Path("archive") / entries[0]["training_video"]
    (rig.folder / entries[0]["training_video"]).rename(rig.folder / moved)
    rig.write_batch([{**entries[0], "training_video": str(moved)}])

    report = await rig.run()

    assert report.exit_code == ExitCode.OK


async def test_entries_come_and_go_with_the_manifest(rig: Rig) -> None:
    """An added entry is new work; one that was removed is left alone and no longer counted."""
    entries = rig.make_entries(2)
    await rig.run()
    added = rig.make_entry("late", size=200_000)
    rig.write_batch([entries[1], added])

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert report.entries.total == report.entries.done == 2
    rig.assert_delivered([*entries, added])


async def test_cancel_deletes_the_jobs_and_says_which_stay(rig: Rig) -> None:
    """A job in automatic review may not be deleted."""
    rig.make_entries(2)
    await rig.run()
    async with connected(rig) as (journal, client, key):
        await client.delete_job(rig.simulator.jobs[0].job_id)  # somebody was faster
        outcomes = await Canceller(journal, client, EventBus()).cancel(key, None)

    assert [outcome.refusal for outcome in outcomes] == [None, None]
    assert rig.simulator.jobs == []
    assert {record.state for record in (await rig.entries()).values()} == {EntryState.CANCELLED}


async def test_a_job_the_service_keeps_is_not_called_cancelled(rig: Rig) -> None:
    """After the first review a job cannot be deleted."""
    rig.make_entries(1)
    await rig.run(settings=SUBMIT)
    await watch(rig, Milestone.REVIEWED)

    async with connected(rig) as (journal, client, key):
        (outcome,) = await Canceller(journal, client, EventBus()).cancel(key, None)

    (record,) = (await rig.entries()).values()
    assert outcome.refusal is not None
    assert record.state is EntryState.TRAINING
    assert record.error is not None


async def test_jobs_with_a_tag_of_our_batch_that_this_journal_did_not_make_are_another_journal_s(
    rig: Rig,
) -> None:
    """Jobs of strangers and of other batches are not even listed."""
    rig.make_entries(1)
    await rig.run()
    async with connected(rig) as (journal, client, key):
        theirs = await client.create_job({"name": "lost", "tags": [f"orch:{key.digest}:0:x"]})
        await client.create_job({"name": "stranger", "tags": ["holiday"]})
        await client.create_job({"name": "other journal", "tags": ["orch:ffffffffffff:0:x"]})

        found = [(orphan.job_id, orphan.origin) async for orphan in leftover_jobs(journal, client)]

    assert found == [(theirs.job_id, Origin.FOREIGN)]


async def test_only_finished_batches_are_forgotten(rig: Rig, clock: Clock) -> None:
    """A batch with work left stays, however old."""
    rig.make_entries(1)
    await rig.run()
    clock.now += 40 * 86400

    async with connected(rig) as (journal, _, key):
        old = await finished_batches(journal, run_before=clock.now - 30 * 86400)
        record = await journal.entry(key.digest, "avatar-0")
        assert record is not None
        await journal.transition(record, EntryState.UPLOADING, "as if it had been stopped")
        still = await finished_batches(journal, run_before=clock.now - 30 * 86400)

    assert [batch.name for batch in old] == [BATCH]
    assert still == []
