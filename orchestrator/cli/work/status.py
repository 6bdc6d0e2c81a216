"""`status`: shows the journal's state of batches and entries, and the reasons of failed reviews."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from orchestrator.api.status import batch_head, entry_status, warnings_of_batch
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, print_table
from orchestrator.cli.process import run_async
from orchestrator.cli.work.batches import (
    find_batch,
    find_entry,
    has_journal,
    matching_entries,
    read_journal,
    unknown_batch,
)
from orchestrator.cli.work.listings import print_entries
from orchestrator.domain.entries import normal
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.quantities import format_bytes, moment
from orchestrator.domain.states import EntryState
from orchestrator.journal.backend import shown
from orchestrator.journal.history import AttemptRecord, HandbackRecord, TransitionRecord
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import BatchRecord, EntryRecord, SegmentRecord
from orchestrator.observe.wording import short_moment
from orchestrator.report.reading import reviews_document
from orchestrator.settings.sources import EffectiveSettings

_SHOWN_ENTRIES = 200
_ALL = 10**9

Counts = Mapping[EntryState, int]


def show_batches(invocation: Invocation) -> ExitCode:
    """Print all batches, the latest run first."""
    effective = invocation.settings()

    async def read(journal: Journal) -> list[tuple[BatchRecord, Counts]]:
        return [(batch, await journal.counts(batch.batch)) for batch in await journal.batches()]

    batches = read_journal(effective, read) if has_journal(effective) else []
    output = invocation.output
    if output.is_json:
        output.document({"schema": SCHEMA, "batches": [batch_head(*known) for known in batches]})
    elif not batches:
        output.say(f"no batches yet in {shown(effective.values.state)}")
    elif output.is_narrow:
        for batch, counts in batches:
            when = "-" if batch.last_run_at is None else short_moment(batch.last_run_at)
            ended = "no exit code" if batch.last_exit_code is None else f"exit {batch.last_exit_code}"
            output.say(f"{batch.name}  {when}  {ended}")
            output.say(f"  {_counted(counts)}; {batch.batch}, {batch.endpoint}")
    else:
        clock = short_moment if output.is_terminal else moment
        rows = [
            (
                batch.name,
                _counted(counts),
                "-" if batch.last_run_at is None else clock(batch.last_run_at),
                "-" if batch.last_exit_code is None else str(batch.last_exit_code),
                batch.batch,
                batch.endpoint,
            )
            for batch, counts in batches
        ]
        print_table(output, ("batch", "entries", "last run", "exit", "digest", "service"), rows)
    return ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """The selection of entries to show: those in *states* that match *patterns*, up to *limit*.

    A single pattern that is the id of an entry, without *states*, selects the full details of that entry.
    """

    limit: int
    states: Collection[EntryState] | None
    patterns: Collection[str] | None


def show_batch(
    invocation: Invocation,
    name: str,
    *,
    is_all_wanted: bool,
    is_table_wanted: bool = True,
    states: Collection[EntryState] | None = None,
    patterns: Collection[str] | None = None,
) -> ExitCode:
    """Print the entries of the batch with this name or digest, or the full details of one entry.

    Raises UsageError if there is no such batch or entry.
    """
    effective = invocation.settings()
    if not has_journal(effective):
        raise unknown_batch(name, effective)
    view = BatchView(
        limit=_ALL if is_all_wanted else _SHOWN_ENTRIES if is_table_wanted else 0,
        states=states,
        patterns=patterns,
    )
    run_async(_show_batch, invocation.output, effective, name, view)
    return ExitCode.OK


async def _show_batch(output: Output, effective: EffectiveSettings, name: str, view: BatchView) -> None:
    async with open_journal(effective.values.state, clock=time.time) as journal:
        batch = await find_batch(journal, effective, name)
        only = await matching_entries(journal, batch, view.patterns)
        # `take-*` prints a list, even if only one entry matches.
        is_one = only is not None and len(only) == 1 and normal(only[0]) in map(normal, view.patterns or ())
        if only is not None and is_one and view.states is None:
            record = await find_entry(journal, batch, only[0])
            print_detail(output, await read_detail(journal, batch, record))
            return
        counts = await journal.counts(batch.batch)
        warnings = await warnings_of_batch(journal, batch, counts)
        if output.is_json:
            head = {"schema": SCHEMA, **batch_head(batch, counts), "warnings": warnings}
            found = (
                entry_status(record).as_dict()
                async for record in journal.entries(batch.batch, states=view.states)
                if only is None or record.entry_id in only
            )
            await output.stream_document(head, "results", found)
            return
        await print_entries(
            output,
            journal,
            batch.batch,
            counts,
            name=batch.name,
            limit=view.limit,
            states=view.states,
            only=only,
        )
        output.say(f"{batch.name} ({batch.batch}) on {batch.endpoint}, project {batch.project_id}")
        holder = await journal.batch_holder(batch.key)
        began = None if batch.last_run_at is None else moment(batch.last_run_at)
        ended = "killed" if batch.last_exit_code is None else f"exit code {batch.last_exit_code}"
        how = ended if holder is None else f"running ({holder})"
        output.say(f"{_counted(counts)}; last run {began}, {how}")
        for line in warnings:
            output.say(line)


def _counted(counts: Counts) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in EntryState if counts.get(state)) or "no entries"


def show_reviews(invocation: Invocation) -> ExitCode:
    """Print the reasons of failed reviews, the most frequent first, and the share that passed the first review."""
    effective = invocation.settings()
    reviews = read_journal(effective, lambda journal: journal.reviews()) if has_journal(effective) else []
    document = reviews_document(reviews)
    output = invocation.output
    if output.is_json:
        output.document({"schema": SCHEMA, **document})
        return ExitCode.OK
    if not reviews:
        output.say("no reviews recorded yet; `orchestrator watch BATCH` fetches them")
        return ExitCode.OK
    rate = document["first_pass_rate"]
    output.say(f"{document['reviewed']} entries reviewed, {rate:.0%} passed at the first review")
    for group in document["reasons"]:
        rule = f" [{group['rule']}]" if group["rule"] else ""
        code = f" ({group['code']})" if group["code"] else ""
        output.say(f"{group['count']:>5}  {group['reason']}{code}{rule}")
        for redo in group["redo_reasons"]:
            output.say(f"       run again because: {redo}")
    return ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDetail:
    """The progress of one file; it has no segments before the entry has a job."""

    asset: str
    path: str
    bytes: int
    bytes_stored: int
    segments: int
    segments_stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDetail:
    """An entry with its files, and its transitions and failed attempts, oldest first."""

    batch: BatchRecord
    record: EntryRecord
    assets: list[AssetDetail]
    transitions: list[TransitionRecord]
    attempts: list[AttemptRecord]
    handbacks: list[HandbackRecord]


async def read_detail(journal: JournalReader, batch: BatchRecord, record: EntryRecord) -> EntryDetail:
    """Read the details of *record* from the journal."""
    return EntryDetail(
        batch=batch,
        record=record,
        assets=_assets(record, await journal.segments(record)),
        transitions=await journal.transitions(record),
        attempts=await journal.attempts(record),
        handbacks=await journal.handbacks(record),
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
    """Print the document, or its content for people."""
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
                "handbacks": [{**asdict(one), "at": moment(one.at)} for one in detail.handbacks],
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
    if detail.handbacks:
        output.say()
        stories = [(moment(one.at), one.host, one.reason) for one in detail.handbacks]
        print_table(output, ("handed back at", "by host", "reason"), stories)


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
    # On a single machine, the process adds nothing to the times.
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
