"""Values to write into a journal."""

from __future__ import annotations

import itertools
from typing import Any

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint, plan_segments
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.evidence import Receipt
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.states import EntryState
from orchestrator.journal.backend import Operation, Transaction
from orchestrator.journal.group_commit import GroupCommit
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord, ErrorRecord, SegmentRecord

KEY = BatchKey("https://metastudio.example.com", "project", "studio")
BATCH = KEY.digest
SIGNATURE = "FrLhTRdhMjpAFVbcGJQgvjlw"
ASSETS = (
    Asset(
        AssetKind.TRAINING_VIDEO, "/footage/anna.mp4", Fingerprint(1_000_003, 1_700_000_000_123_456_789, 42)
    ),
    Asset(AssetKind.COVER, "/footage/änna.png", Fingerprint(77, 1, 2**63 - 1)),
)
SPEC = '{"name":"Anna","training_video":"/footage/anna.mp4"}'
RECEIPT = Receipt(etag="e" * 32, md5="m" * 32, is_verified=True)
ERROR = ErrorRecord("rejected", "MSS.1", "the service said no", "R1", "look at it")


class Clock:
    """Seconds that pass with each look."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1_700_000_000)

    def __call__(self) -> float:
        return float(next(self._seconds))


async def add_entries(journal: Journal, count: int = 1) -> list[EntryRecord]:
    """A batch of *count* pending entries, in order."""
    await journal.start_run(KEY, manifest_path="/m.yaml", is_submit_wanted=False, run_id="run-1")
    ids = [f"entry-{number:04}" for number in range(count)]
    await journal.add_entries(BATCH, ((place, name, SPEC, ASSETS) for place, name in enumerate(ids)))
    return [record async for record in journal.entries(BATCH)]


async def add_entry(journal: Journal) -> EntryRecord:
    """A batch of one pending entry."""
    (record,) = await add_entries(journal)
    return record


def planned(parts: int = 3, *, generation: int = 1) -> list[SegmentRecord]:
    """The segments of a job: *parts* of the training video, and the cover."""
    return [
        *(
            SegmentRecord(
                kind=AssetKind.TRAINING_VIDEO, segment=segment, url=url(segment.part_number, generation)
            )
            for segment in plan_segments(ASSETS[0].size, parts)
        ),
        SegmentRecord(kind=AssetKind.COVER, segment=next(plan_segments(77, 1)), url=url(0, generation)),
    ]


def url(number: int, generation: int) -> PresignedUrl:
    """A presigned URL."""
    return PresignedUrl(f"https://obs.example.com/o?partNumber={number}&g={generation}&Signature={SIGNATURE}")


async def upload(journal: Journal, record: EntryRecord, parts: int = 3) -> EntryRecord:
    """Bring a pending entry to uploading."""
    record = await journal.transition(record, EntryState.CREATING, "requested", create_tag="orch:t")
    return await journal.job_created(record, "job-1", planned(parts), "created")


async def confirm(journal: Journal, record: EntryRecord) -> EntryRecord:
    """Bring an uploading entry to confirmed."""
    record = await journal.transition(record, EntryState.UPLOADED, "stored")
    record = await journal.transition(record, EntryState.CONFIRMING, "asked", confirm_sent_at=1.0)
    return await journal.confirmed(record, "joined", delivered="verified")


def database_of(journal: Journal) -> GroupCommit:
    """The database behind a journal."""
    assert isinstance(journal.backend, GroupCommit)
    return journal.backend


async def pragma(journal: Journal, name: str) -> object:
    """A setting of the connection that writes."""
    return await database_of(journal).write(reading(f"PRAGMA {name}"))


def reading(sql: str) -> Operation[Any]:
    """An operation that returns what *sql* finds first."""
    return lambda transaction: transaction.select(sql, {})[0][0]


def writing(sql: str) -> Operation[None]:
    """An operation that executes *sql*."""

    def operation(transaction: Transaction) -> None:
        transaction.execute(sql, {})

    return operation
