"""Parking of entries: an entry is laid aside, for example when several workers in a row ended over it."""

from __future__ import annotations

from shlex import quote
from typing import Final

from pgqueuer.domain.types import JobId

from orchestrator.domain.errors import ParkedError, StaleEpochError
from orchestrator.domain.states import EntryState
from orchestrator.engine.context import Run
from orchestrator.engine.entry import ClaimedEntry
from orchestrator.engine.lifecycle import resumed_state
from orchestrator.fleet.queue import OwnedQueries
from orchestrator.journal.records import EntryRecord

#: The number of workers that may end over an entry without a new receipt.
MOST_TAKEOVERS: Final = 10
_NAMED_HOLDERS: Final = 3


async def park_after_takeovers(run: Run, queries: OwnedQueries, job_id: JobId, record: EntryRecord) -> bool:
    """Lay the entry aside, as failed, if its workers do not survive it; True when that was done.

    Raises JournalError.
    """
    # Each of them has claimed the entry and raised its epoch, so most entries need no query.
    if record.epoch <= MOST_TAKEOVERS:
        return False
    transitions = await run.journal.transitions(record)
    moments = [segment.stored_at or 0.0 for segment in await run.journal.segments(record)]
    moments += [transition.at for transition in transitions]
    count = await queries.count_takeovers(job_id, max(moments, default=0.0))
    if count <= MOST_TAKEOVERS:
        return False
    holders = dict.fromkeys(each.holder for each in reversed(transitions) if each.holder)
    last = ", ".join(list(holders)[:_NAMED_HOLDERS])
    return await park(
        run,
        record,
        ParkedError(
            f"{count} workers in a row ended over this entry without a new receipt"
            + (f"; those that last changed it: {last}" if last else ""),
            hint="look at the logs and the memory of the workers' hosts, then queue it again with "
            f"`orchestrator retry {quote(run.batch.name)} --entry {quote(record.entry_id)}`",
        ),
    )


async def park(run: Run, record: EntryRecord, error: ParkedError) -> bool:
    """Let the entry fail with *error*; False if another live worker writes to it. Raises JournalError."""
    entry = ClaimedEntry(record, run)
    try:
        entry.record = await run.journal.claim(record)
        if entry.record.state is EntryState.FAILED:
            # It was queued again after a failure, and would keep the reason of that failure.
            await entry.load_segments()
            await entry.transition(resumed_state(entry.facts, entry.record.service_state), "retried")
        await entry.failed(error)
    except StaleEpochError:
        return False
    return True
