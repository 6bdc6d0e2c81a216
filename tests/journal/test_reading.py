"""What the journal tells: in order, page by page, from one consistent state."""

from __future__ import annotations

import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.states import EntryState
from orchestrator.journal import reading
from orchestrator.journal.history import AttemptRecord
from orchestrator.journal.journal import Journal
from orchestrator.journal.reading import NOT_IN_MANIFEST
from orchestrator.journal.statements import among
from tests.journal.conftest import Look
from tests.journal.samples import (
    ASSETS,
    BATCH,
    ERROR,
    KEY,
    RECEIPT,
    SPEC,
    add_entries,
    add_entry,
    confirm,
    upload,
)

VIDEO = AssetKind.TRAINING_VIDEO
PAGE = 7


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages of few entries."""
    monkeypatch.setattr(reading, "PAGE_ROWS", PAGE)


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 3 * PAGE + 2])
async def test_entries_come_in_the_order_of_the_manifest_each_once(journal: Journal, count: int) -> None:
    """Also where a page ends exactly with the batch."""
    await add_entries(journal, count)

    found = [record.entry_id async for record in journal.entries(BATCH)]

    assert found == [f"entry-{number:04}" for number in range(count)]


async def test_entries_that_leave_the_selection_while_it_is_read_hide_no_others(journal: Journal) -> None:
    """Workers change states while the pages are being read."""
    await add_entries(journal, 4 * PAGE)
    seen = []

    async for record in journal.entries(BATCH, states={EntryState.PENDING}):
        seen.append(record.position)
        await journal.transition(record, EntryState.CREATING, "requested", create_tag="orch:t")

    assert seen == list(range(4 * PAGE))
    assert [record async for record in journal.entries(BATCH, states={EntryState.PENDING})] == []


async def test_entries_with_and_without_a_job_are_told_apart(journal: Journal) -> None:
    """An intent to create counts as a job: the service may have it."""
    created, asked, *_ = await add_entries(journal, 3)
    await upload(journal, created)
    await journal.transition(asked, EntryState.CREATING, "requested", create_tag="orch:t")

    with_job = [record.position async for record in journal.entries(BATCH, has_job=True)]
    without = [record.position async for record in journal.entries(BATCH, has_job=False)]

    assert (with_job, without) == ([0, 1], [2])


async def test_entries_follow_the_manifest_when_it_is_reordered(journal: Journal) -> None:
    """What the manifest has no more is not given out, and not forgotten."""
    await add_entries(journal, 4)
    await journal.move_entries(BATCH, [("entry-0000", NOT_IN_MANIFEST), ("entry-0003", 0)])

    assert [record.entry_id async for record in journal.entries(BATCH)] == [
        "entry-0003",
        "entry-0001",
        "entry-0002",
    ]
    assert await journal.entry_ids(BATCH) == {"entry-0001", "entry-0002", "entry-0003"}
    assert await journal.entry(BATCH, "entry-0000") is not None


async def test_entries_are_found_by_name_in_their_batch_only(journal: Journal) -> None:
    """The same id in two batches is two entries."""
    other = BatchKey(KEY.endpoint, KEY.project_id, "other")
    (record,) = await add_entries(journal, 1)
    await journal.start_run(other, manifest_path=None, is_submit_wanted=True, run_id="run-2")
    await journal.add_entries(other.digest, [(0, record.entry_id, SPEC, ())])
    await journal.claim(record)

    assert await journal.entry(BATCH, "nobody") is None
    assert (await journal.entries_named(BATCH, [record.entry_id, "nobody"])).keys() == {record.entry_id}
    untouched = await journal.entry(other.digest, record.entry_id)
    assert untouched is not None
    assert (untouched.epoch, untouched.assets) == (0, ())


async def test_a_batch_tells_how_its_last_run_began_and_ended(journal: Journal) -> None:
    """A run that has not ended has no exit code, whatever the one before had."""
    other = BatchKey(KEY.endpoint, KEY.project_id, "other")
    await journal.start_run(other, manifest_path="/o.yaml", is_submit_wanted=True, run_id="run-0")
    await journal.end_run(other.digest, "run-0", 8)
    await journal.start_run(KEY, manifest_path="/m.yaml", is_submit_wanted=False, run_id="run-1")
    await journal.end_run(BATCH, "run-1", 5)
    await journal.start_run(KEY, manifest_path=None, is_submit_wanted=True, run_id="run-2")

    latest, earlier = await journal.batches()
    assert (latest.name, latest.last_run_id, latest.last_exit_code) == ("studio", "run-2", None)
    assert (latest.manifest_path, latest.is_submit_wanted) == ("/m.yaml", True)
    assert (latest.endpoint, latest.project_id, latest.batch) == (KEY.endpoint, KEY.project_id, BATCH)
    assert latest.last_run_at is not None
    assert latest.created_at < latest.last_run_at
    assert (earlier.name, earlier.last_exit_code) == ("other", 8)


async def test_a_forgotten_batch_leaves_nothing(journal: Journal, look: Look) -> None:
    """Neither its own rows nor those that hang on them, and nothing of another batch is touched."""
    other = BatchKey(KEY.endpoint, KEY.project_id, "other")
    await journal.start_run(other, manifest_path=None, is_submit_wanted=False, run_id="run-2")
    record = await upload(journal, await add_entry(journal))
    journal.note_attempt(record, attempt(1.0))

    await journal.forget_batch(BATCH)

    for table in ("entries", "segments", "transitions", "attempts"):
        assert look(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert [batch.name for batch in await journal.batches()] == ["other"]


async def test_failures_are_counted_by_kind(journal: Journal) -> None:
    """Of the entries the manifest still has: the others are nobody's concern."""
    records = await add_entries(journal, 4)
    for record in records[:3]:
        await journal.failed(record, ERROR)
    await journal.move_entries(BATCH, [(records[0].entry_id, NOT_IN_MANIFEST)])

    assert await journal.failures(BATCH) == {"rejected": 2}


async def test_stored_segments_are_counted_for_entries_of_the_manifest(journal: Journal) -> None:
    """Segments and bytes with a receipt."""
    first, second, gone = [await upload(journal, record) for record in await add_entries(journal, 3)]
    for record in (first, gone):
        await journal.segment_stored(record, VIDEO, 1, RECEIPT, 1)
        await journal.segment_stored(record, AssetKind.COVER, 1, RECEIPT, 1)
    await journal.move_entries(BATCH, [(gone.entry_id, NOT_IN_MANIFEST)])

    part, cover = 333_335, ASSETS[1].size
    assert await journal.count_stored(BATCH) == (2, part + cover)
    assert await journal.stored_bytes(BATCH, [first.entry_id, second.entry_id]) == {
        first.entry_id: part + cover
    }
    assert await journal.count_stored("nothing") == (0, 0)


async def test_an_entry_is_found_with_its_batch_in_whatever_form_its_id_is_asked_for(
    journal: Journal,
) -> None:
    """A queue of an older program may have its letters taken apart; what is not there is None, not half of it."""
    await add_entries(journal, 0)
    await journal.add_entries(BATCH, [(0, "josé", SPEC, ASSETS)])
    record = await journal.entry(BATCH, "josé")

    found = await journal.entry_with_batch(BATCH, "jose\u0301")

    assert found == (await journal.batch(BATCH), record)
    assert await journal.entry_with_batch(BATCH, "nobody") is None
    assert await journal.entry_with_batch("no batch", "josé") is None


async def test_the_history_of_an_entry_is_told_in_order(journal: Journal) -> None:
    """Transitions as they came, each from where the one before had led."""
    record = await confirm(journal, await upload(journal, await add_entry(journal)))

    history = await journal.transitions(record)

    assert [change.to_state for change in history] == [
        "creating",
        "uploading",
        "uploaded",
        "confirming",
        "confirmed",
    ]
    assert [change.from_state for change in history] == [
        "pending",
        *(change.to_state for change in history[:-1]),
    ]
    assert [change.at for change in history] == sorted(change.at for change in history)


def attempt(at: float) -> AttemptRecord:
    """A failed try."""
    return AttemptRecord(
        at=at,
        operation="put",
        asset="cover",
        part_number=1,
        attempt=int(at),
        kind="throttled",
        code="SlowDown",
        message="slow down",
        request_id="R1",
        seconds=0.5,
    )


async def test_failed_tries_come_back_as_they_were_oldest_first(journal: Journal) -> None:
    """And are counted at their entry."""
    record = await add_entry(journal)
    for at in (3.0, 1.0, 2.0):
        journal.note_attempt(record, attempt(at))
    await journal.claim(record)

    assert await journal.attempts(record) == [attempt(1.0), attempt(2.0), attempt(3.0)]
    read = await journal.entry(BATCH, record.entry_id)
    assert read is not None
    assert read.attempts == 3


async def test_nothing_is_found_among_nothing_in_words_other_databases_read(journal: Journal) -> None:
    """`IN ()` is SQLite's alone."""
    await add_entries(journal, 2)

    assert among("entry_id", []) == ("(NULL)", {})
    assert await journal.entries_named(BATCH, []) == {}
    assert await journal.entries_of_jobs([]) == {}
    assert await journal.creates_tagged([]) == {}
    assert await journal.stored_bytes(BATCH, []) == {}
    assert not await journal.owns_job("job-1", [])
    assert [record async for record in journal.entries(BATCH, states=())] == []
