"""A create whose answer was lost: whatever list and show say, only what is proved ours is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.domain.entries import BatchKey, create_tag
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.cancelling import Canceller
from orchestrator.engine.cleaning import Origin, delete_orphan, leftover_jobs
from orchestrator.engine.events import EventBus, WarningRaised
from orchestrator.engine.planning import Planner
from orchestrator.engine.service_connection import connect
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import open_manifest
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import create_body
from orchestrator.simulator import SimulatorOptions, World
from tests.rig import BATCH, Rig
from tests.strangers import Untouched, make_console_jobs

FILTERS = ("honoured", "ignored")
NOWHERE = {"list_tags": "hidden", "show_tags": "hidden"}


def worlds(*, list_tags: tuple[str, ...], show_tags: tuple[str, ...]) -> Any:
    """A parameter for each world of these tags, with filters and without."""
    made = [
        World(list_filters=filters, list_tags=listed, show_tags=shown)  # type: ignore[arg-type]  # its own words
        for filters in FILTERS
        for listed in list_tags
        for shown in show_tags
    ]
    return pytest.mark.parametrize(
        "simulator_options",
        [SimulatorOptions(world=world) for world in made],
        ids=[str(world) or "as documented" for world in made],
    )


ALL_TAGS = worlds(list_tags=("shown", "hidden"), show_tags=("shown", "hidden"))
TAGS_SOMEWHERE = worlds(list_tags=("shown",), show_tags=("shown", "hidden"))
TAGS_IN_SHOW = worlds(list_tags=("hidden",), show_tags=("shown",))
TAGS_NOWHERE = worlds(list_tags=("hidden",), show_tags=("hidden",))


@asynccontextmanager
async def connected(rig: Rig) -> AsyncIterator[tuple[Journal, MetaStudioClient, BatchKey]]:
    """The journal and a client, as commands have them."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        yield journal, connection.client, BatchKey(connection.endpoint, connection.project_id, BATCH)


async def lose_create(rig: Rig) -> EntryRecord:
    """Make the job of the batch's one entry, and learn nothing of it, as a kill during the create would."""
    async with connected(rig) as (journal, client, key):
        await journal.start_run(key, manifest_path=str(rig.manifest), is_submit_wanted=False, run_id="killed")
        planner = Planner(open_manifest(rig.manifest), journal, key.digest, rig.settings, with_media=False)
        await planner.register()
        (record,) = [record async for record in journal.entries(key.digest)]
        tag = create_tag(key, record.entry_id, "lost")
        record = await journal.create_requested(await journal.claim(record), tag, "job requested")
        await client.create_job(create_body(record.avatar, batch_name=key.name, tag=tag, part_counts={}))
        return record


@ALL_TAGS
async def test_jobs_that_people_and_other_entries_own_outlive_a_lost_create(rig: Rig) -> None:
    """With or without filters, with tags in the list, in show, or nowhere."""
    entries = rig.make_entries(3, size=200_000)
    async with connected(rig) as (_, client, _):
        await make_console_jobs(client, BATCH, entries[0]["name"])
    strangers = Untouched.of(rig.simulator)
    rig.simulator.faults.script("create", [None, None, "lost-create"])

    report = await rig.run()

    strangers.check()
    assert report.exit_code == ExitCode.OK
    owned = {record.job_id for record in (await rig.entries()).values()}
    assert len(owned) == len(entries)
    assert owned <= {job.job_id for job in rig.simulator.jobs}


@worlds(list_tags=("shown", "hidden"), show_tags=("shown",))
async def test_the_job_of_a_lost_create_is_found_by_its_tag_wherever_that_is_shown(rig: Rig) -> None:
    """One live job for each entry."""
    entries = rig.make_entries(3, size=200_000)
    rig.simulator.faults.script("create", ["lost-create", None, "lost-create"])

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    rig.assert_delivered(entries)
    assert not [event for event in rig.events_of(WarningRaised) if "lost" in event.message]


@TAGS_NOWHERE
async def test_without_tags_anywhere_the_job_that_may_be_ours_is_named_and_left(rig: Rig) -> None:
    """A new one is made; a person can look."""
    entries = rig.make_entries(1, size=200_000)
    rig.simulator.faults.script("create", ["lost-create"])

    report = await rig.run()

    (record,) = (await rig.entries()).values()
    (orphan,) = [job for job in rig.simulator.jobs if job.job_id != record.job_id]
    warnings = [event.message for event in rig.events_of(WarningRaised)]
    assert report.exit_code == ExitCode.OK
    assert any(f"{orphan.job_id} ({entries[0]['name']})" in message for message in warnings)
    assert not orphan.is_deleted


@ALL_TAGS
async def test_cancel_deletes_only_the_job_that_the_lost_create_is_proved_to_have_made(rig: Rig) -> None:
    """Else it names what may be left over."""
    rig.make_entries(1, size=200_000)
    await lose_create(rig)
    (lost,) = rig.simulator.jobs
    async with connected(rig) as (journal, client, key):
        await make_console_jobs(client, BATCH, "Name of avatar-0")
        strangers = Untouched(
            rig.simulator, {job.job_id: job for job in rig.simulator.jobs if job.job_id != lost.job_id}
        )

        (outcome,) = await Canceller(journal, client, EventBus()).cancel(key, None)

    strangers.check()
    world = rig.simulator.options.world
    is_shown = "shown" in {world.list_tags, world.show_tags}
    assert outcome.refusal is None
    assert (lost.job_id in {job.job_id for job in rig.simulator.jobs}) is not is_shown
    assert is_shown or (outcome.remark is not None and lost.job_id in outcome.remark)


@worlds(list_tags=("shown", "hidden"), show_tags=("shown",))
async def test_a_create_that_arrives_after_its_entry_was_cancelled_is_an_orphan_that_may_go(
    rig: Rig,
) -> None:
    """The journal keeps every create it made, whatever became of its entry."""
    rig.make_entries(1, size=200_000)
    await lose_create(rig)
    async with connected(rig) as (journal, client, key):
        (record,) = [record async for record in journal.entries(key.digest)]
        await journal.transition(record, EntryState.CANCELLED, "cancelled before the create arrived")

        (orphan,) = [orphan async for orphan in leftover_jobs(journal, client)]
        reason = await delete_orphan(journal, client, orphan)

    assert (orphan.origin, reason) == (Origin.ORPHAN, None)
    assert rig.simulator.jobs == []


async def test_what_an_orphan_holds_is_not_thrown_away(rig: Rig) -> None:
    """Whoever sent it knows the job better than this journal."""
    rig.make_entries(1, size=200_000)
    await rig.run()
    async with connected(rig) as (journal, client, key):
        (record,) = [record async for record in journal.entries(key.digest)]
        await journal.transition(record, EntryState.CANCELLED, "as if it had been taken back")

        (orphan,) = [orphan async for orphan in leftover_jobs(journal, client)]
        reason = await delete_orphan(journal, client, orphan)

    assert orphan.origin is Origin.ORPHAN
    assert reason == "it may hold files"
    assert len(rig.simulator.jobs) == 1
