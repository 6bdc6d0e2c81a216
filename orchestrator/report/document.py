"""The data of the page, split into parts so that a live page receives only changes, and the entries that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from shlex import quote
from statistics import median
from typing import Any, Final

from orchestrator.domain.states import EntryState, JobGroup, group_of, is_done
from orchestrator.journal.history import IncidentKind, StateChange
from orchestrator.journal.records import EntryRecord
from orchestrator.report.night import Night, Window, night_of, windows_of
from orchestrator.report.reading import BatchFacts, reviews_document

SCHEMA: Final = 1
#: The fields of an entry on the page, in order; the page's script has the same list.
ROW_FIELDS: Final = (
    *("id", "name", "state", "service_state", "bytes", "stored", "tries", "job_id"),
    *("delivered", "started", "finished", "error", "code", "request_id"),
)
#: The maximum number of warnings listed; all are in the journal.
MOST_WARNINGS: Final = 100
#: The maximum number of causes of retries listed.
MOST_CAUSES: Final = 20
#: The number of last bins of the curve used to estimate the time left.
_RECENT_BINS = 10

Row = list[Any]
_NO_REASON = "the service gives no reason"
#: States that only a person can resolve, in the service's console.
_WAITING_GROUPS = {
    JobGroup.AWAITING_USER: "the trained avatar waits for your approval in the console",
    JobGroup.REJECTED: "the trained avatar was rejected in the console",
    JobGroup.SUSPENDED: "the service has suspended the job",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """The parts of the page; `rows` are lists of ROW_FIELDS by entry."""

    summary: Mapping[str, Any]
    attention: Sequence[Mapping[str, Any]]
    night: Mapping[str, Any]
    rows: Mapping[str, Row]

    def with_now(self, now: Mapping[str, Any]) -> ReportData:
        """Return the same data with *now*, the run's own report of its current state."""
        return replace(self, summary={**self.summary, "now": now})

    @property
    def names(self) -> Mapping[str, str]:
        """The name of each entry."""
        place = ROW_FIELDS.index("name")
        return {entry_id: row[place] for entry_id, row in self.rows.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return all data in the form that the page's script reads."""
        return {
            "schema": SCHEMA,
            "fields": ROW_FIELDS,
            "summary": self.summary,
            "attention": self.attention,
            "night": self.night,
            "rows": list(self.rows.values()),
        }


def report_data(facts: BatchFacts, *, now: float, options: str) -> ReportData:
    """Return the data at *now*, in epoch seconds; *options* are the shell options that locate the journal."""
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
    # The time left is estimated from the rate of the last bins; it is None when nothing is being sent.
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
    """Return *night* with times in tenths of seconds after `start`, and entries as indexes in `lanes`.

    The order of `lanes` is that of the entries' start.
    """
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
                # An outage cut short by a kill lasted at least until the last recorded activity of its run.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One entry that waits for a person; *command* can be pasted into a shell."""

    entry_id: str
    kind: str
    reason: str
    hint: str | None
    command: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Builder of shell commands; *options* are the shell options that locate the journal."""

    batch: str
    manifest: str | None
    options: str

    def retry(self, entry_id: str) -> str:
        """Return the command that retries one entry."""
        return f"orchestrator retry {quote(self.batch)} --entry {quote(entry_id)}{self.options}"

    def show(self, entry_id: str) -> str:
        """Return the command that shows everything about one entry."""
        return f"orchestrator status {quote(self.batch)} --entry {quote(entry_id)}{self.options}"

    def plan(self) -> str:
        """Return the command that shows what a run would do, and which decisions it needs first."""
        if self.manifest is None:
            return f"orchestrator status {quote(self.batch)}{self.options}"
        return f"orchestrator plan {quote(self.manifest)}{self.options}"


def attention_of(facts: BatchFacts, commands: Commands) -> Iterator[Attention]:
    """Yield the entries that wait for a person: decisions, failures, failed reviews, then those in the console."""
    # The open decisions of the last run, by entry.
    decisions = {
        incident.subject: incident.message
        for incident in facts.incidents
        if incident.kind == IncidentKind.DECISION and incident.run_id == facts.batch.last_run_id
    }
    by_kind: tuple[Callable[[EntryRecord], Attention | None], ...] = (
        lambda record: _decision(record, decisions, commands),
        lambda record: _failure(record, commands),
        lambda record: _failed_review(record, commands),
        lambda record: _waiting(record, commands),
    )
    for find in by_kind:
        yield from filter(None, map(find, facts.entries))


def _failed_review(record: EntryRecord, commands: Commands) -> Attention | None:
    if record.state is not EntryState.REVIEW_FAILED:
        return None
    code = f" ({record.review_code})" if record.review_code else ""
    return Attention(
        entry_id=record.entry_id,
        kind="review failed",
        reason=f"{record.review_reason or _NO_REASON}{code}",
        hint="replace the file that the reviewer names, then:",
        command=commands.retry(record.entry_id),
    )


def _failure(record: EntryRecord, commands: Commands) -> Attention | None:
    error = record.error
    if record.state is not EntryState.FAILED or error is None:
        return None
    code = f" ({error.code})" if error.code else ""
    is_decision = error.kind == "decision_needed"
    return Attention(
        entry_id=record.entry_id,
        kind="needs a decision" if is_decision else "failed",
        reason=f"{error.message}{code}",
        hint=error.hint,
        command=commands.retry(record.entry_id),
    )


def _decision(record: EntryRecord, decisions: Mapping[str, str], commands: Commands) -> Attention | None:
    reason = decisions.get(record.entry_id)
    if reason is None or record.state is EntryState.FAILED:
        return None
    return Attention(
        entry_id=record.entry_id, kind="needs a decision", reason=reason, hint=None, command=commands.plan()
    )


def _waiting(record: EntryRecord, commands: Commands) -> Attention | None:
    if record.service_state is None or record.state is not EntryState.TRAINING:
        return None
    reason = _WAITING_GROUPS.get(group_of(record.service_state))
    if reason is None:
        return None
    return Attention(
        entry_id=record.entry_id,
        kind="waits in the console",
        reason=reason,
        hint=None,
        command=commands.show(record.entry_id),
    )


def times_to_avatar(changes: Sequence[StateChange], trained: frozenset[str]) -> dict[str, Any] | None:
    """Return the times in seconds from an entry's first job to its avatar, for the *trained* entries, or None.

    *changes* are ordered from the oldest. The time starts with the first job, because films that a review refused are
    part of the wait. It ends with the first avatar, because `watch` may see the service revert a state.
    """
    first: dict[str, float] = {}
    took: dict[str, float] = {}
    for change in changes:
        if change.to_state == EntryState.CREATING:
            first.setdefault(change.entry_id, change.at)
        elif change.to_state == EntryState.TRAINED and change.entry_id in trained & first.keys():
            took.setdefault(change.entry_id, change.at - first[change.entry_id])
    if not took:
        return None
    slowest = max(took, key=lambda entry_id: took[entry_id])
    return {
        "avatars": len(took),
        "median_seconds": median(took.values()),
        "slowest_seconds": took[slowest],
        "slowest_entry": slowest,
    }
