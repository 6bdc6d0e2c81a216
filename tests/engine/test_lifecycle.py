"""One entry brought to its end by a caller of its own, without the batch's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.domain.errors import JournalError
from orchestrator.domain.states import EntryState
from orchestrator.engine.batch import register
from orchestrator.engine.context import Run, open_run
from orchestrator.engine.events import EventBus
from orchestrator.engine.lifecycle import End, Lifecycle
from orchestrator.journal.journal import open_journal
from orchestrator.journal.records import EntryRecord
from tests.rig import BATCH, Rig


@asynccontextmanager
async def planned(rig: Rig) -> AsyncIterator[tuple[Run, EntryRecord]]:
    """A run of a batch that was planned, with the record of its only entry, on which nobody works."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        open_run(rig.work_settings(), BATCH, journal, EventBus(rig.events.append), rig.clocks()) as run,
    ):
        await register(rig.request(), run)
        (record,) = [record async for record in journal.entries(run.batch.digest)]
        yield run, record


async def test_an_entry_is_brought_to_its_end_from_outside_the_batch(rig: Rig) -> None:
    """The outcome is returned, and the journal has it."""
    entries = rig.make_entries(1)

    async with planned(rig) as (run, record):
        outcome = await Lifecycle(run).bring_to_its_end(record)

    assert outcome.end is End.DONE
    rig.assert_delivered(entries)
    assert [each.state for each in (await rig.entries()).values()] == [EntryState.CONFIRMED]


async def test_a_failure_is_journalled_and_returned(rig: Rig) -> None:
    """Nothing is raised: the next entry of the caller is none of its business."""
    rig.make_entries(1)

    async with planned(rig) as (run, record):
        (rig.folder / "avatar-0-training_video").unlink()
        outcome = await Lifecycle(run).bring_to_its_end(record)

    (known,) = (await rig.entries()).values()
    assert outcome.end is End.FAILED
    assert outcome.error is not None
    assert known.error is not None
    assert known.error.message == outcome.error.message


async def test_an_entry_that_another_worker_took_is_lost_and_left_alone(rig: Rig) -> None:
    """Its epoch is no longer this worker's, so nothing is sent for it."""
    rig.make_entries(1)

    async with planned(rig) as (run, record):
        await run.journal.claim(record)
        before = rig.simulator.stats.to_document()
        outcome = await Lifecycle(run).bring_to_its_end(record)

    assert outcome.end is End.LOST
    assert rig.simulator.stats.to_document() == before


async def test_an_entry_of_a_run_that_drains_is_left_for_the_next_run(rig: Rig) -> None:
    """Its state stays what it was."""
    rig.make_entries(1)

    async with planned(rig) as (run, record):
        run.drain.begin("the test")
        outcome = await Lifecycle(run).bring_to_its_end(record)

    assert outcome.end is End.STOPPED
    assert outcome.error is None
    assert rig.jobs_by_name() == {}


async def test_an_error_of_the_whole_run_is_returned_for_the_caller_to_act_on(rig: Rig) -> None:
    """A damaged journal concerns every entry: this one is left as it was, and the batch or a worker stops."""
    rig.make_entries(1)

    async with planned(rig) as (run, record):
        outcome = await Lifecycle(run).bring_to_its_end(record._replace(spec="[]"))

    (known,) = (await rig.entries()).values()
    assert outcome.end is End.STOPPED
    assert isinstance(outcome.error, JournalError)
    assert (known.state, known.epoch) == (EntryState.PENDING, record.epoch)
