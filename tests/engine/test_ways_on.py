"""What a person is told to do next leads on: after a refusal, a cancellation, a failed review."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import DecisionNeededError, ExitCode
from orchestrator.domain.states import Change, EntryState
from orchestrator.engine.cancelling import Canceller
from orchestrator.engine.events import EventBus
from orchestrator.engine.following import Follower, Milestone, PollPace
from orchestrator.engine.service_connection import connect
from orchestrator.journal.journal import open_journal
from orchestrator.journal.sqlite import batch_lock_holder, hold_batch_lock
from orchestrator.manifest import open_manifest
from orchestrator.simulator import SimulatorOptions
from orchestrator.simulator.footage import write_footage
from tests.rig import BATCH, Rig, no_sleep

SUBMIT = {"is_submit_wanted": True}
QUICK = pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])


async def cancel(rig: Rig, *entry_ids: str) -> None:
    """Cancel as the command does."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        batch = (await journal.batches())[0].key
        await Canceller(journal, connection.client, EventBus()).cancel(batch, set(entry_ids) or None)


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_cancelled_entry_comes_back_when_it_is_asked_for(rig: Rig, *, is_named: bool) -> None:
    """With a new job; until then every run leaves it alone and ends well."""
    entries = rig.make_entries(3)
    await rig.run()
    await cancel(rig, "avatar-0", "avatar-1")
    left_alone = await rig.run()

    if is_named:
        first = await rig.retry({"avatar-0"})
        assert first.counts == {EntryState.CONFIRMED: 2, EntryState.CANCELLED: 1}
        report = await rig.retry({"avatar-1"})
    else:
        report = await rig.retry(is_cancelled_wanted=True)

    assert (left_alone.exit_code, left_alone.entries.skipped) == (ExitCode.OK, 2)
    assert (report.exit_code, report.entries.done) == (ExitCode.OK, 3)
    rig.assert_delivered(entries)


async def test_a_cancelled_entry_does_not_come_back_by_itself(rig: Rig) -> None:
    """Neither by `run` nor by a `retry` of what failed."""
    rig.make_entries(1)
    await rig.run()
    await cancel(rig)

    reports = [await rig.run(), await rig.retry()]

    assert [report.exit_code for report in reports] == [ExitCode.OK, ExitCode.OK]
    assert rig.simulator.jobs == []


@pytest.mark.parametrize("way", ["put back", Change.RECREATE])
async def test_a_refused_update_leaves_the_plan_of_the_job(rig: Rig, way: str) -> None:
    """Putting the manifest and the files back leads on, and so does the other way."""
    entries = rig.make_entries(1)
    path = rig.folder / entries[0]["training_video"]
    shutil.copy2(path, path.with_name("kept"))
    await rig.run()
    write_footage(path, size=700_000, seed=3)
    rig.write_batch([{**entries[0], "contact": "ops@example.com"}])
    refused = await rig.run(settings={"on_change": Change.UPDATE})
    still = await rig.run()

    if way == "put back":
        path.with_name("kept").replace(path)
        rig.write_batch(entries)
        report = await rig.run()
    else:
        report = await rig.run(settings={"on_change": way})

    assert [refused.exit_code, still.exit_code] == [ExitCode.DECISION_NEEDED] * 2
    assert report.exit_code == ExitCode.OK
    rig.assert_delivered(entries)
    assert len(rig.simulator.all_jobs) == (1 if way == "put back" else 2)


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])
async def test_a_trained_entry_is_trained_again_after_a_refused_change_was_put_back(rig: Rig) -> None:
    """Its job has gone too far to be deleted or updated, and was never touched."""
    entries = rig.make_entries(1)
    await rig.run(settings=SUBMIT)
    await rig.run(settings=SUBMIT)
    rig.write_batch([{**entries[0], "contact": "ops@example.com"}])
    await rig.run(settings={"on_change": Change.UPDATE})
    rig.write_batch(entries)

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert {record.state for record in (await rig.entries()).values()} == {EntryState.TRAINED}


async def reviewed(rig: Rig, count: int = 2) -> list[dict[str, str]]:
    """A batch of entries whose reviews have all failed, as the last run saw."""
    entries = [rig.make_entry(f"avatar-{number}", size=300_000) for number in range(count)]
    for entry in entries:
        entry["name"] = f"review-fail {entry['id']}"
    rig.write_batch(entries)
    assert (await rig.run(settings=SUBMIT)).exit_code == ExitCode.OK
    return entries


@QUICK
async def test_the_nightly_run_says_that_reviews_have_failed(rig: Rig) -> None:
    """A run that was to submit ends with a look at what was submitted before."""
    await reviewed(rig)

    nightly = await rig.run(settings=SUBMIT)
    retried = await rig.retry()

    assert [nightly.exit_code, retried.exit_code] == [ExitCode.SOME_FAILED] * 2
    assert nightly.counts == retried.counts == {EntryState.REVIEW_FAILED: 2}
    assert nightly.entries.done == 0
    assert [job.submissions for job in rig.simulator.jobs] == [1, 1]


@QUICK
async def test_a_named_retry_knows_what_was_replaced_of_the_others(rig: Rig) -> None:
    """It sends the named one only, and remembers nothing of the rest that is not so."""
    await reviewed(rig, count=3)
    await rig.run(settings=SUBMIT)
    for number in (0, 1):
        write_footage(rig.folder / f"avatar-{number}-training_video", size=320_000, seed=99)

    named = await rig.retry({"avatar-0"})
    nightly = await rig.run()
    rest = await rig.retry()

    assert named.replaced == nightly.replaced == {"avatar-1"}
    assert [named.exit_code, nightly.exit_code, rest.exit_code] == [ExitCode.SOME_FAILED] * 3
    assert sorted(job.submissions for job in rig.simulator.jobs) == [1, 2, 2]
    assert rest.replaced == frozenset()


async def test_watching_beside_a_run_waits_for_what_the_run_uploads(rig: Rig) -> None:
    """What nobody works on needs a person, what a run has will move."""
    rig.make_entries(1)
    await rig.run()
    stops: list[ExitCode] = []
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        key = BatchKey(connection.endpoint, connection.project_id, BATCH)
        held = [True, True, False]

        async def is_held() -> bool:
            return held.pop(0)

        follower = Follower(journal, connection.client, EventBus(), key, is_run_under_way=is_held)
        code = await follower.follow(
            Milestone.SUBMITTED,
            pace=PollPace(),
            timeout_seconds=None,
            monotonic=rig.clock,
            sleep=no_sleep,
        )
        stops.append(code)

    assert held == []
    assert stops == [ExitCode.SOME_FAILED]


async def test_a_second_manifest_of_the_same_name_is_no_continuation_of_the_first(rig: Rig) -> None:
    """The message names the other file; nothing of the first batch is touched, however often it is run."""
    rig.make_entries(2)
    await rig.run()
    other = other_manifest(rig, "bea", "carl")

    for _ in range(2):
        with pytest.raises(DecisionNeededError) as raised:
            await rig.run(manifest=other)
        assert str(rig.manifest) in raised.value.message
        assert "--batch-name" in str(raised.value.hint)
    report = await rig.run()

    assert (report.exit_code, report.removed, report.entries.total) == (ExitCode.OK, (), 2)


async def test_a_person_who_names_the_batch_goes_on_with_it(rig: Rig) -> None:
    """And is told which entries the new manifest no longer has."""
    rig.make_entries(1)
    await rig.run()
    other = other_manifest(rig, "bea")

    report = await rig.run(manifest=other, is_batch_named=True)

    assert (report.exit_code, report.removed) == (ExitCode.OK, ("avatar-0",))


@pytest.mark.parametrize("rows", [("avatar-0", "avatar-1"), ("avatar-0",), ("avatar-0", "avatar-1", "bea")])
async def test_a_manifest_that_moved_or_has_fewer_or_more_entries_goes_on(
    rig: Rig, rows: tuple[str, ...]
) -> None:
    """A table of results, of which rows were taken out, is a manifest of the same batch."""
    rig.make_entries(2)
    await rig.run()

    report = await rig.run(manifest=other_manifest(rig, *rows))

    assert report.exit_code == ExitCode.OK
    assert report.entries.done == len(rows)


def other_manifest(rig: Rig, *ids: str) -> object:
    """A manifest of the same batch name in another file."""
    mine = rig.manifest.read_text(encoding="utf-8")
    rig.write_batch([rig.make_entry(entry_id, size=600_000) for entry_id in ids])
    path = rig.manifest.replace(rig.folder / "another.yaml")
    rig.manifest.write_text(mine, encoding="utf-8")
    return open_manifest(path)


def test_asking_whether_a_run_is_under_way_tells_which(tmp_path: Path) -> None:
    """And nothing of it stays."""
    path = tmp_path / "some.lock"
    before = batch_lock_holder(path)
    with hold_batch_lock(path):
        during = batch_lock_holder(path)

    assert (before, batch_lock_holder(path)) == (None, None)
    assert during is not None
    assert f"process {os.getpid()}" in during


def test_a_run_that_starts_while_its_lock_is_asked_about_gets_it(tmp_path: Path) -> None:
    """Those who ask have it for a moment, and are waited for."""
    path = tmp_path / "some.lock"
    asking = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(asking, fcntl.LOCK_SH)

    def sleep(_: float) -> None:
        fcntl.flock(asking, fcntl.LOCK_UN)

    with hold_batch_lock(path, sleep=sleep):
        holder = batch_lock_holder(path)
    os.close(asking)

    assert holder is not None
