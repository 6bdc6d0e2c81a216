"""The page's data: plain values in four parts, so that a live page gets only what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from orchestrator.domain.states import EntryState, is_done
from orchestrator.journal.history import IncidentKind
from orchestrator.journal.records import EntryRecord
from orchestrator.report.attention import Commands, attention_of
from orchestrator.report.avatars import times_to_avatar
from orchestrator.report.night import Night, Window, night_of, windows_of
from orchestrator.report.reading import BatchFacts
from orchestrator.report.refusals import reviews_document

SCHEMA: Final = 1
#: What one entry is on the page, in order; the page's script has the same list.
ROW_FIELDS: Final = (
    *("id", "name", "state", "service_state", "bytes", "stored", "tries", "job_id"),
    *("delivered", "started", "finished", "error", "code", "request_id"),
)
#: Warnings that are listed; all are in the journal.
MOST_WARNINGS: Final = 100
#: Causes of retries that are listed.
MOST_CAUSES: Final = 20
#: The end of the curve by which the time left is estimated.
_RECENT_BINS = 10

Row = list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """The parts of the page; `rows` are lists of ROW_FIELDS by entry."""

    summary: Mapping[str, Any]
    attention: Sequence[Mapping[str, Any]]
    night: Mapping[str, Any]
    rows: Mapping[str, Row]

    def with_now(self, now: Mapping[str, Any]) -> ReportData:
        """The same with what the run itself says of this moment."""
        return replace(self, summary={**self.summary, "now": now})

    @property
    def names(self) -> Mapping[str, str]:
        """What each entry is called."""
        place = ROW_FIELDS.index("name")
        return {entry_id: row[place] for entry_id, row in self.rows.items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it, as the page's script reads it."""
        return {
            "schema": SCHEMA,
            "fields": ROW_FIELDS,
            "summary": self.summary,
            "attention": self.attention,
            "night": self.night,
            "rows": list(self.rows.values()),
        }


def report_data(facts: BatchFacts, *, now: float, options: str) -> ReportData:
    """The page at *now*, epoch seconds; *options* are what commands need to find the journal, as they are pasted."""
    commands = Commands(facts.batch.name, facts.batch.manifest_path, options)
    signs = sorted([*(change.at for change in facts.changes), *(one.stored_at for one in facts.segments)])
    windows = windows_of(facts.runs, signs, now, facts.holder)
    night = night_of(windows, facts.changes, facts.segments)
    attention = [asdict(item) for item in attention_of(facts, commands)]
    return ReportData(
        summary=_summary(facts, night, now=now, waiting=len(attention)),
        attention=attention,
        night=_night(facts, night),
        rows={record.entry_id: _row(record, facts.stored_bytes) for record in facts.entries},
    )


def _row(record: EntryRecord, stored: Mapping[str, int]) -> Row:
    error = record.error if record.state is EntryState.FAILED else None
    code = error.code if error is not None else record.review_code
    return [
        record.entry_id,
        record.avatar.name,
        record.state.value,
        record.service_state,
        record.bytes,
        stored.get(record.entry_id, 0),
        record.attempts,
        record.job_id,
        record.delivered,
        record.started_at,
        record.confirmed_at,
        error.message if error is not None else record.review_reason,
        code,
        error.request_id if error is not None else None,
    ]


def _summary(facts: BatchFacts, night: Night, *, now: float, waiting: int) -> dict[str, Any]:
    batch = facts.batch
    states = Counter(record.state for record in facts.entries)
    delivered = sum(
        count
        for state, count in states.items()
        if is_done(state, with_submit=batch.is_submit_wanted) and state is not EntryState.REVIEW_FAILED
    )
    last = night.windows[-1] if night.windows else None
    # At the rate of the last minutes; None where nothing is sent.
    recent = [rate for rate in night.goodput[-_RECENT_BINS:] if rate]
    left = sum(record.bytes for record in facts.entries) - sum(facts.stored_bytes.values())
    is_sending = facts.holder is not None and recent and left > 0
    return {
        "batch": batch.name,
        "digest": batch.batch,
        "manifest": batch.manifest_path,
        "made_at": now,
        "is_submit_wanted": batch.is_submit_wanted,
        "process": facts.holder,
        "events_path": facts.runs[0].events_path if facts.runs else None,
        "now": None,
        "entries": len(facts.entries),
        "delivered": delivered,
        "waiting": waiting,
        "states": {state.value: states[state] for state in EntryState if states[state]},
        "bytes": sum(record.bytes for record in facts.entries),
        "stored": sum(facts.stored_bytes.values()),
        "working_seconds": sum(window.end - window.start for window in night.windows),
        "seconds_left": left / (sum(recent) / len(recent)) if is_sending else None,
        "run": None if last is None else _window(last),
        "avatars": times_to_avatar(
            facts.avatar_changes,
            frozenset(record.entry_id for record in facts.entries if record.state is EntryState.TRAINED),
        ),
        "reviews": reviews_document(facts.reviews),
        "warnings": [
            {"entry": incident.subject, "message": incident.message, "at": incident.at}
            for incident in facts.incidents
            if incident.kind == IncidentKind.WARNING
        ][-MOST_WARNINGS:],
    }


def _window(window: Window) -> dict[str, Any]:
    return {
        "run_id": window.run.run_id,
        "start": window.start,
        "end": window.end,
        "state": window.state,
        "exit_code": window.run.exit_code,
    }


def _night(facts: BatchFacts, night: Night) -> dict[str, Any]:
    """Times are tenths of seconds after `start`, and entries their places in `lanes`, in the order of their start."""
    first: dict[str, float] = {}
    for span in night.spans:
        first[span.entry_id] = min(first.get(span.entry_id, span.start), span.start)
    lanes = {entry_id: place for place, entry_id in enumerate(sorted(first, key=lambda one: first[one]))}

    def tenths(at: float) -> int:
        return round((at - night.start) * 10)

    return {
        "start": night.start,
        "end": night.end,
        "is_coarse": night.is_coarse,
        "lanes": list(lanes),
        "spans": [
            [lanes[span.entry_id], int(span.kind), tenths(span.start), tenths(span.end), span.row, span.rows]
            for span in night.spans
        ],
        "bin_seconds": night.bin_seconds,
        "goodput": [round(rate) for rate in night.goodput],
        "runs": [_window(window) for window in night.windows],
        "outages": [
            {
                "start": incident.at,
                # One that a kill cut short lasted at least until its run's last sign.
                "end": incident.ended_at
                or max(
                    (window.end for window in night.windows if window.run.run_id == incident.run_id),
                    default=incident.at,
                ),
                "side": incident.subject,
                "reason": incident.message,
            }
            for incident in facts.incidents
            if incident.kind == IncidentKind.OUTAGE
        ],
        "ticks": [[lanes[entry], tenths(at), kind] for entry, at, kind in facts.ticks if entry in lanes],
        "slowest": [segment._asdict() for segment in night.slowest],
        "causes": [cause._asdict() for cause in facts.causes[:MOST_CAUSES]],
    }
