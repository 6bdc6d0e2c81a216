"""Guarded writes: what an entry may become, who may say so, and what is written together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import IllegalTransitionError, JournalError, StaleEpochError
from orchestrator.domain.states import Change, EntryState
from orchestrator.journal.backend import is_url
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord
from tests.journal.conftest import Look
from tests.journal.samples import (
    ASSETS,
    BATCH,
    ERROR,
    RECEIPT,
    SPEC,
    add_entries,
    add_entry,
    confirm,
    database_of,
    planned,
    upload,
    writing,
)

VIDEO = AssetKind.TRAINING_VIDEO


async def test_a_transition_is_written_with_its_facts_time_and_reason(journal: Journal) -> None:
    """The returned record is what the journal now holds."""
    record = await add_entry(journal)

    changed = await journal.transition(record, EntryState.CREATING, "requested", create_tag="orch:t")

    (transition,) = await journal.transitions(record)
    assert changed == await journal.entry(BATCH, record.entry_id)
    assert (changed.state, changed.create_tag) == (EntryState.CREATING, "orch:t")
    assert (transition.from_state, transition.to_state) == ("pending", "creating")
    assert (transition.at, transition.reason, transition.epoch) == (changed.updated_at, "requested", 0)


async def test_a_transition_and_its_row_are_written_together_or_not_at_all(
    journal: Journal, look: Look
) -> None:
    """A state without its story, or a story without its state, cannot be."""
    record = await add_entry(journal)
    await database_of(journal).write(writing("ALTER TABLE transitions DROP COLUMN reason"))

    with pytest.raises(JournalError):
        await journal.transition(record, EntryState.CREATING, "requested", create_tag="orch:t")

    assert look("SELECT state, create_tag FROM entries") == [("pending", None)]


Write = Callable[[Journal, EntryRecord], Awaitable[object]]

#: Every write that goes by the state and epoch of a record which is uploading.
GUARDED: dict[str, Write] = {
    "transition": lambda journal, record: journal.transition(
        record, EntryState.UPLOADED, "stored", delivered="x"
    ),
    "set_facts": lambda journal, record: journal.set_facts(record, job_id="job-2"),
    "claim": lambda journal, record: journal.claim(record),
    "failed": lambda journal, record: journal.failed(record, ERROR),
    "job_gone": lambda journal, record: journal.job_gone(record, "gone"),
    "job_reopened": lambda journal, record: journal.job_reopened(record, planned(generation=2), "again"),
    "replace_segments": lambda journal, record: journal.replace_segments(record, planned(generation=2)),
    "replan_entry": lambda journal, record: journal.replan_entry(record, "{}", (), Change.UPDATE),
}
EVERYTHING = [
    "SELECT * FROM entries",
    "SELECT * FROM segments ORDER BY asset, part_number",
    "SELECT * FROM transitions",
]


@pytest.mark.parametrize("write", GUARDED.values(), ids=GUARDED.keys())
async def test_a_write_under_an_old_epoch_changes_nothing(journal: Journal, look: Look, write: Write) -> None:
    """Who lost the entry to another worker learns it, and has touched neither entry nor segments."""
    record = await upload(journal, await add_entry(journal))
    await journal.claim(record)
    before = [look(sql) for sql in EVERYTHING]

    with pytest.raises(StaleEpochError, match=record.entry_id):
        await write(journal, record)

    assert [look(sql) for sql in EVERYTHING] == before


@pytest.mark.parametrize("write", GUARDED.values(), ids=GUARDED.keys())
async def test_a_write_from_a_state_that_is_past_changes_nothing(
    journal: Journal, look: Look, write: Write
) -> None:
    """The guard is in the statement: what was read before is not trusted."""
    record = await upload(journal, await add_entry(journal))
    await journal.transition(record, EntryState.UPLOADED, "stored")
    before = [look(sql) for sql in EVERYTHING]

    with pytest.raises(StaleEpochError):
        await write(journal, record)

    assert [look(sql) for sql in EVERYTHING] == before


@pytest.mark.parametrize("write", GUARDED.values(), ids=GUARDED.keys())
async def test_a_write_of_the_holder_is_written(journal: Journal, look: Look, write: Write) -> None:
    """The guards let through whom they are for."""
    record = await journal.claim(await upload(journal, await add_entry(journal)))
    before = [look(sql) for sql in EVERYTHING]

    await write(journal, record)

    assert [look(sql) for sql in EVERYTHING] != before


@pytest.mark.parametrize(
    "write",
    [
        lambda journal, record: journal.transition(record, EntryState.CONFIRMED, "leap"),
        lambda journal, record: journal.job_created(record, "job-1", planned(), "leap"),
        lambda journal, record: journal.job_reopened(record, planned(), "leap"),
        lambda journal, record: journal.job_gone(record, "leap"),
        lambda journal, record: journal.confirmed(record, "leap", delivered="verified"),
    ],
)
async def test_a_transition_the_table_does_not_have_is_refused(
    journal: Journal, look: Look, write: Write
) -> None:
    """Nothing is asked of the database."""
    record = await add_entry(journal)
    before = [look(sql) for sql in EVERYTHING]

    with pytest.raises(IllegalTransitionError):
        await write(journal, record)

    assert [look(sql) for sql in EVERYTHING] == before


async def test_the_segments_of_an_entry_obey_only_its_holder(journal: Journal, look: Look) -> None:
    """A receipt of a worker that lost the entry may be of URLs that are no more."""
    record = await upload(journal, await add_entry(journal))
    await journal.segment_stored(record, VIDEO, 1, RECEIPT, 1)
    holder = await journal.claim(record)
    before = look(EVERYTHING[1])

    await journal.segment_started(record, VIDEO, 2)
    await journal.segment_stored(record, VIDEO, 2, RECEIPT, 1)
    await journal.segments_missing(record, [(VIDEO, 1)])
    assert look(EVERYTHING[1]) == before

    await journal.segment_stored(holder, VIDEO, 2, RECEIPT, 1)
    assert look(EVERYTHING[1]) != before


async def test_a_claim_begins_the_entry_once(journal: Journal) -> None:
    """The epoch rises with each claim, the time it was begun stays."""
    first = await journal.claim(await add_entry(journal))
    second = await journal.claim(first)

    assert (first.epoch, second.epoch) == (1, 2)
    assert first.started_at is not None
    assert second.started_at == first.started_at


async def test_of_two_who_claim_the_same_record_one_gets_it(journal: Journal) -> None:
    """Both had read the same row."""
    record = await add_entry(journal)
    await journal.claim(record)

    with pytest.raises(StaleEpochError):
        await journal.claim(record)


async def test_a_segment_keeps_when_it_was_first_sent_and_what_the_store_said(journal: Journal) -> None:
    """The receipt, and every try it took."""
    record = await upload(journal, await add_entry(journal))
    await journal.segment_started(record, VIDEO, 2)
    began = (await journal.segments(record))[2].started_at
    await journal.segment_started(record, VIDEO, 2)
    await journal.segment_stored(record, VIDEO, 2, RECEIPT, 3)

    cover, _, second, third = await journal.segments(record)
    assert (cover.kind, second.segment.part_number) == (AssetKind.COVER, 2)
    assert began == second.started_at
    assert second.receipt == RECEIPT
    assert second.stored_at is not None
    assert (third.started_at, third.receipt) == (None, None)


async def test_a_receipt_the_service_does_not_know_is_dropped(journal: Journal) -> None:
    """The service's list is the truth, the journal only saves calls."""
    record = await upload(journal, await add_entry(journal))
    for number in (1, 2, 3):
        await journal.segment_started(record, VIDEO, number)
        await journal.segment_stored(record, VIDEO, number, RECEIPT, 1)

    await journal.segments_missing(record, [(VIDEO, 1), (VIDEO, 3)])

    _, *parts = await journal.segments(record)
    assert [part.receipt for part in parts] == [None, RECEIPT, None]
    assert parts[0].started_at is not None, "it may have been sent"


async def test_what_was_planned_comes_back_as_it_was(journal: Journal, location: str) -> None:
    """Ranges, URLs and assets with their fingerprints, digit for digit; no inode, where hosts may see another."""
    record = await upload(journal, await add_entry(journal))

    expected = sorted(planned(), key=lambda segment: (segment.kind, segment.segment.part_number))
    assert await journal.segments(record) == expected
    seen = [replace(asset, fingerprint=asset.fingerprint._replace(inode=0)) for asset in ASSETS]
    assert (record.assets, record.spec) == (tuple(seen) if is_url(location) else ASSETS, SPEC)


async def test_fresh_urls_take_the_place_of_the_dead_ones(journal: Journal) -> None:
    """Receipts of the old plan go with it."""
    record = await upload(journal, await add_entry(journal), parts=5)
    await journal.segment_stored(record, VIDEO, 1, RECEIPT, 1)

    await journal.replace_segments(record, planned(2, generation=2))

    segments = await journal.segments(record)
    assert len(segments) == 3
    assert all(
        segment.receipt is None and "g=2" in segment.url.reveal() for segment in segments if segment.url
    )


async def test_confirming_forgets_the_urls_and_keeps_the_receipts(journal: Journal) -> None:
    """Secrets go when they are of no more use."""
    record = await upload(journal, await add_entry(journal))
    await journal.segment_stored(record, VIDEO, 1, RECEIPT, 1)

    record = await confirm(journal, record)

    segments = await journal.segments(record)
    assert [segment.url for segment in segments] == [None] * 4
    assert segments[1].receipt == RECEIPT
    assert record.confirmed_at is not None
    assert record.delivered == "verified"


async def test_a_job_that_is_gone_is_forgotten_with_all_that_was_known_of_it(journal: Journal) -> None:
    """The entry begins anew, with its epoch and its history."""
    record = await confirm(journal, await upload(journal, await journal.claim(await add_entry(journal))))
    record = await journal.set_facts(record, service_state="WAIT_FILE_UPLOAD", change_wanted=Change.RECREATE)

    record = await journal.job_gone(record, "deleted")

    assert record == await journal.entry(BATCH, record.entry_id)
    assert (record.state, record.epoch) == (EntryState.PENDING, 1)
    of_the_job = (
        record.job_id,
        record.create_tag,
        record.created_at,
        record.confirm_sent_at,
        record.confirmed_at,
        record.submit_sent_at,
        record.submitted_at,
        record.service_state,
        record.delivered,
        record.change_wanted,
    )
    assert of_the_job == (None,) * 10
    assert await journal.segments(record) == []
    assert len(await journal.transitions(record)) == 6


async def test_a_reopened_job_keeps_its_id_and_is_unconfirmed(journal: Journal) -> None:
    """What was confirmed was another content."""
    record = await confirm(journal, await upload(journal, await add_entry(journal)))

    record = await journal.job_reopened(record, planned(2, generation=2), "amended")

    assert record == await journal.entry(BATCH, record.entry_id)
    assert (record.state, record.job_id, record.confirmed_at) == (EntryState.UPLOADING, "job-1", None)
    assert len(await journal.segments(record)) == 3


async def test_a_failed_entry_tells_why_until_it_is_taken_up_again(journal: Journal) -> None:
    """The reason is in its history for good."""
    record = await journal.failed(await upload(journal, await add_entry(journal)), ERROR)
    assert record == await journal.entry(BATCH, record.entry_id)
    assert record.error == ERROR

    record = await journal.transition(record, EntryState.UPLOADING, "taken up again")

    assert record == await journal.entry(BATCH, record.entry_id)
    assert record.error is None
    reasons = [transition.reason for transition in await journal.transitions(record)]
    assert reasons == ["requested", "created", "the service said no", "taken up again"]


async def test_a_cancelled_entry_still_tells_why_it_had_failed(journal: Journal) -> None:
    """Cancelling mends nothing."""
    record = await journal.failed(await add_entry(journal), ERROR)

    record = await journal.transition(record, EntryState.CANCELLED, "cancelled")

    assert record == await journal.entry(BATCH, record.entry_id)
    assert record.error == ERROR


async def test_a_changed_plan_keeps_a_change_that_is_still_owed(journal: Journal) -> None:
    """A second edit of the manifest does not make the first one unnecessary."""
    record = await confirm(journal, await upload(journal, await add_entry(journal)))
    record = await journal.replan_entry(record, SPEC, ASSETS[:1], Change.AMEND, is_submit_wanted=True)

    record = await journal.replan_entry(record, SPEC, ASSETS, None)

    assert record == await journal.entry(BATCH, record.entry_id)
    paths = [asset.path for asset in record.assets]
    assert (record.change_wanted, record.is_submit_wanted) == (Change.AMEND, True)
    assert paths == [asset.path for asset in ASSETS]


async def test_of_each_host_that_cannot_use_the_files_the_latest_word_is_kept(journal: Journal) -> None:
    """The entry stays as it is, and another plan makes all of it void."""
    record = await add_entry(journal)
    for host, reason in (("one", "no such file"), ("two", "stale"), ("one", "permission denied")):
        record = await journal.hand_back(record, host, reason)
    stale = await journal.claim(record)
    with pytest.raises(StaleEpochError):
        await journal.hand_back(record, "three", "no such file")
    told = [(each.host, each.reason) for each in await journal.handbacks(stale)]
    await journal.replan_entry(stale, SPEC, ASSETS)

    assert told == [("two", "stale"), ("one", "permission denied")]
    assert (stale.state, stale.epoch) == (EntryState.PENDING, 1)
    assert await journal.handbacks(stale) == []


async def test_hosts_may_try_again_once_a_person_says_so(journal: Journal) -> None:
    """Those entries that are named, and no others."""
    first, second = await add_entries(journal, 2)
    for record in (first, second):
        await journal.hand_back(record, "one", "no such file")

    await journal.forget_handbacks(BATCH, [first.entry_id])

    assert await journal.handbacks(first) == []
    assert [each.host for each in await journal.handbacks(second)] == ["one"]
