"""`cancel`: deletes jobs from the service if it allows that, and reports the others with a reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, is_agreed, print_table, require_consent
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import open_service_session
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.cancelling import LEFT_ALONE, Canceller
from orchestrator.engine.events import EntryTransitioned, Event
from orchestrator.journal.journal import open_journal

_CANCELLED = "cancelled"
_REFUSED = "refused"
_FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome for one entry of `cancel`."""

    entry: str
    job_id: str | None
    outcome: str
    reason: str | None

    def as_dict(self) -> dict[str, str | None]:
        """Return the entry as `cancel --json` lists it."""
        return {
            "entry": self.entry,
            "outcome": self.outcome,
            "job_id": self.job_id,
            "reason": self.reason,
        }


def cancel_entries(
    invocation: Invocation, name: str, entry_ids: Collection[str] | None, *, is_yes: bool
) -> int:
    """Cancel the batch called *name*, or only the given entries, and return the exit code."""
    output = invocation.output
    require_consent(output, is_yes=is_yes)
    known = known_batch(invocation, name)
    output.known["batch"] = known.record.name
    count = run_on_network(_count, known, entry_ids)
    entries = "1 entry" if count == 1 else f"{count} entries"
    question = f"Cancel {entries} of {known.record.name}? Their jobs and files are deleted from the service."
    if count and not is_agreed(output, question, is_yes=is_yes):
        output.say("nothing was cancelled")
        return ExitCode.OK
    outcomes = run_on_network(_cancel, output, known, entry_ids)
    return _print_result(output, known, outcomes)


async def _count(known: KnownBatch, entry_ids: Collection[str] | None) -> int:
    batch = known.record.batch
    async with open_journal(known.effective.values.state, clock=time.time) as journal:
        entry_ids = await matching_entries(journal, known.record, entry_ids)
        if entry_ids is None:
            counts = await journal.counts(batch)
            return sum(count for state, count in counts.items() if state not in LEFT_ALONE)
        records = await journal.entries_named(batch, entry_ids)
        return sum(record.state not in LEFT_ALONE for record in records.values())


async def _cancel(output: Output, known: KnownBatch, entry_ids: Collection[str] | None) -> list[Outcome]:
    def print_change(event: Event) -> None:
        if isinstance(event, EntryTransitioned):
            output.note(f"{event.entry}: {event.to_state}")

    async with open_service_session(output, known.effective, known.record.name, print_change) as session:
        journal = session.journal
        entry_ids = await matching_entries(journal, known.record, entry_ids)
        async with journal.hold_batch(known.record.key):
            canceller = Canceller(journal, session.client, session.events)
            done = await canceller.cancel(known.record.key, entry_ids)
        outcomes = [
            Outcome(
                entry=one.entry_id,
                job_id=one.job_id,
                outcome=_CANCELLED if one.refusal is None else _REFUSED,
                reason=one.refusal or one.remark,
            )
            for one in done
        ]
        rest = set(entry_ids or ()) - {outcome.entry for outcome in outcomes}
        records = await journal.entries_named(known.record.batch, rest)
        return outcomes + [
            Outcome(entry=record.entry_id, job_id=record.job_id, outcome=_FINISHED, reason="already trained")
            if record.state is EntryState.TRAINED
            else Outcome(
                entry=record.entry_id, job_id=record.job_id, outcome=_CANCELLED, reason="already cancelled"
            )
            for record in records.values()
        ]


def _print_result(output: Output, known: KnownBatch, outcomes: list[Outcome]) -> ExitCode:
    exit_code = ExitCode.OK if all(one.outcome == _CANCELLED for one in outcomes) else ExitCode.SOME_FAILED
    if output.is_json:
        output.document(
            {
                "schema": SCHEMA,
                "batch": known.record.name,
                "digest": known.record.batch,
                "exit_code": int(exit_code),
                "entries": [one.as_dict() for one in outcomes],
            }
        )
        return exit_code
    rows = [(one.entry, one.outcome, one.job_id or "-", one.reason or "") for one in outcomes]
    if rows:
        print_table(output, ("entry", "outcome", "job", "reason"), rows)
    counts = Counter(one.outcome for one in outcomes)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "nothing to cancel"
    output.say(f"{known.record.name}: {counted}")
    return exit_code
