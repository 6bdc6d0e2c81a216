"""What waits for a person: which avatar, why, and the command that leads on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from shlex import quote

from orchestrator.domain.states import EntryState, JobGroup, group_of
from orchestrator.journal.history import IncidentKind
from orchestrator.journal.records import EntryRecord
from orchestrator.report.reading import BatchFacts

_NO_REASON = "the service gives no reason"
#: What only a person can move on, in the service's console.
_WAITING_GROUPS = {
    JobGroup.AWAITING_USER: "the trained avatar waits for your approval in the console",
    JobGroup.REJECTED: "the trained avatar was rejected in the console",
    JobGroup.SUSPENDED: "the service has suspended the job",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One entry that waits; *command* works when pasted."""

    entry_id: str
    kind: str
    reason: str
    hint: str | None
    command: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Writes commands for the shell; *options* are those that name the journal, as they are pasted."""

    batch: str
    manifest: str | None
    options: str

    def retry(self, entry_id: str) -> str:
        """Retry one entry."""
        return f"orchestrator retry {quote(self.batch)} --entry {quote(entry_id)}{self.options}"

    def show(self, entry_id: str) -> str:
        """All that is known of one entry."""
        return f"orchestrator status {quote(self.batch)} --entry {quote(entry_id)}{self.options}"

    def plan(self) -> str:
        """What a run would do, and what must be decided first."""
        if self.manifest is None:
            return f"orchestrator status {quote(self.batch)}{self.options}"
        return f"orchestrator plan {quote(self.manifest)}{self.options}"


def attention_of(facts: BatchFacts, commands: Commands) -> Iterator[Attention]:
    """The entries that wait for a person: decisions, failures, failed reviews, then what waits in the console."""
    # What the last run could not decide, by entry.
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
