"""`status --entry`: everything the journal knows of one entry, nothing secret."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from orchestrator.cli.output import SCHEMA, Output, print_table
from orchestrator.domain.quantities import format_bytes
from orchestrator.journal.history import AttemptRecord, TransitionRecord
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import BatchRecord, EntryRecord, SegmentRecord
from orchestrator.observe.wording import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDetail:
    """How far one file is; there are no segments before the entry has a job."""

    asset: str
    path: str
    bytes: int
    bytes_stored: int
    segments: int
    segments_stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDetail:
    """One entry with its files, its transitions and its failed attempts, the oldest first."""

    batch: BatchRecord
    record: EntryRecord
    assets: list[AssetDetail]
    transitions: list[TransitionRecord]
    attempts: list[AttemptRecord]


async def read_detail(journal: JournalReader, batch: BatchRecord, record: EntryRecord) -> EntryDetail:
    """Read what belongs to *record*."""
    return EntryDetail(
        batch=batch,
        record=record,
        assets=_assets(record, await journal.segments(record)),
        transitions=await journal.transitions(record),
        attempts=await journal.attempts(record),
    )


def _assets(record: EntryRecord, segments: list[SegmentRecord]) -> list[AssetDetail]:
    details = []
    for asset in record.assets:
        mine = [segment for segment in segments if segment.kind is asset.kind]
        stored = [segment for segment in mine if segment.receipt is not None]
        details.append(
            AssetDetail(
                asset=asset.kind.value,
                path=asset.path,
                bytes=asset.size,
                bytes_stored=sum(segment.segment.length for segment in stored),
                segments=len(mine),
                segments_stored=len(stored),
            )
        )
    return details


def print_detail(output: Output, detail: EntryDetail) -> None:
    """Print the document, or the same for people."""
    if output.is_json:
        record = detail.record
        output.document(
            {
                "schema": SCHEMA,
                "batch": detail.batch.name,
                "digest": detail.batch.batch,
                "entry": record.entry_id,
                "state": record.state.value,
                "service_state": record.service_state,
                "job_id": record.job_id,
                "bytes": record.bytes,
                "is_in_manifest": record.position >= 0,
                "change_wanted": record.change_wanted,
                "delivered": record.delivered,
                "review_reason": record.review_reason,
                "review_code": record.review_code,
                "updated_at": moment(record.updated_at),
                "error": None if record.error is None else record.error.as_dict(),
                "assets": [asdict(asset) for asset in detail.assets],
                "transitions": [
                    {"at": moment(one.at), "from": one.from_state, "to": one.to_state, "reason": one.reason}
                    for one in detail.transitions
                ],
                "attempts": [{**asdict(attempt), "at": moment(attempt.at)} for attempt in detail.attempts],
            }
        )
        return
    for name, text in _facts(detail.record):
        output.say(f"{name:<15}{text}")
    rows = [
        (
            asset.asset,
            format_bytes(asset.bytes),
            f"{asset.segments_stored}/{asset.segments}" if asset.segments else "-",
            asset.path,
        )
        for asset in detail.assets
    ]
    output.say()
    print_table(output, ("file", "size", "segments stored", "path"), rows)
    _print_transitions(output, detail.transitions)
    _print_attempts(output, detail.attempts)


def _facts(record: EntryRecord) -> list[tuple[str, str]]:
    error = record.error
    about = ", ".join(filter(None, (error.code, error.request_id))) if error else ""
    facts = {
        "entry": record.entry_id,
        "state": record.state.value + ("" if record.position >= 0 else ", no longer in the manifest"),
        "job": record.job_id,
        "the service": record.service_state,
        "review failed": record.review_reason,
        "review code": record.review_code,
        "delivered": record.delivered,
        "to be changed": record.change_wanted,
        "error": f"{error.message}{f' ({about})' if about else ''}" if error else None,
        "hint": error and error.hint,
    }
    return [(name, text) for name, text in facts.items() if text]


def _print_transitions(output: Output, transitions: list[TransitionRecord]) -> None:
    if not transitions:
        return
    heads: tuple[str, ...] = ("at", "from", "to", "reason")
    rows: list[tuple[str, ...]] = [
        (moment(one.at), one.from_state, one.to_state, one.reason or "") for one in transitions
    ]
    # On one machine it says nothing that the times do not.
    if len({(one.holder or "").partition(" on ")[2] for one in transitions}) > 1:
        heads = (*heads, "by")
        rows = [(*row, one.holder or "") for row, one in zip(rows, transitions, strict=True)]
    output.say()
    print_table(output, heads, rows)


def _print_attempts(output: Output, attempts: list[AttemptRecord]) -> None:
    if not attempts:
        return
    rows = []
    for one in attempts:
        part = f" part {one.part_number}" if one.part_number else ""
        what = f"{one.operation} {one.asset}{part}" if one.asset else one.operation
        request = one.request_id and f"request {one.request_id}"
        answer = ", ".join(filter(None, (one.kind, one.code, request)))
        rows.append((moment(one.at), what, str(one.attempt), answer, one.message or ""))
    output.say()
    print_table(output, ("failed at", "request", "attempt", "answer", "message"), rows)
