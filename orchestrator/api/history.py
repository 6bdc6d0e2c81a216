"""Runs that end with an error: each of a known batch leaves its exit code in the journal's history of runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import anyio
from anyio import to_thread

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import OrchestratorError, UsageError
from orchestrator.domain.exit_codes import ExitCode, exit_code_of
from orchestrator.journal.journal import exists, open_journal
from orchestrator.journal.records import BatchRecord

#: Picks the batch that a run was meant for.
IsMeant = Callable[[BatchRecord], bool]


def new_run_id(now: float) -> str:
    """An id that sorts by time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def key_of(record: BatchRecord) -> BatchKey:
    """The key of a batch."""
    return BatchKey(record.endpoint, record.project_id, record.name, known_digest=record.batch)


async def keep_end(
    state: str, is_meant: IsMeant, started_at: float, exit_code: int, run_id: str | None = None
) -> None:
    """Write into the journal at *state* that a run ended with *exit_code*; *run_id* where it came to have one.

    Where the journal knows no batch that *is_meant*, or several, nothing is kept.
    """
    from orchestrator.engine.report import count_entries  # noqa: PLC0415 - loads what looking at a batch does not need

    if not await to_thread.run_sync(exists, state):
        return
    run_id = run_id or new_run_id(started_at)
    async with open_journal(state, clock=time.time) as journal:
        meant = [batch for batch in await journal.batches() if is_meant(batch)]
        # The run may have come as far as the journal, which then knows which batch it was.
        own = [batch for batch in meant if batch.last_run_id == run_id] or meant
        if len(own) != 1:
            return
        batch = own[0]
        counts = await journal.counts(batch.batch)
        await journal.keep_refused_run(
            batch.batch,
            run_id,
            started_at,
            exit_code,
            count_entries(counts, undecided=0, with_submit=batch.is_submit_wanted).as_dict(),
            is_last=await journal.batch_holder(key_of(batch)) is None,
        )


@asynccontextmanager
async def kept_in_history(state: str, is_meant: IsMeant, run_id: str) -> AsyncIterator[None]:
    """Keep how the block ends when it raises or is cancelled; the error is raised again.

    What cannot be asked for is no run.
    """
    started_at = time.time()
    try:
        yield
    except UsageError:
        raise
    except (Exception, anyio.get_cancelled_exc_class()) as error:
        # The history matters less than the work: whatever fails here, the error itself is raised.
        with anyio.CancelScope(shield=True), suppress(OrchestratorError):
            await keep_end(state, is_meant, started_at, code_of(error), run_id)
        raise


def code_of(error: BaseException) -> int:
    """The exit code that stands for *error*; a run that is cancelled was interrupted."""
    if isinstance(error, OrchestratorError):
        return exit_code_of(error)
    return ExitCode.UNEXPECTED if isinstance(error, Exception) else ExitCode.INTERRUPTED
