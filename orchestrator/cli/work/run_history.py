"""Runs that end with an error: each of a known batch leaves its exit code in the journal's history of runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from orchestrator.api.options import ENVIRONMENT_PREFIX
from orchestrator.api.service import new_run_id
from orchestrator.api.settings import settings_of_flags
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.loops import run_async
from orchestrator.cli.output import Output
from orchestrator.cli.stopping import StoppedBySignal
from orchestrator.cli.work.batches import KnownBatch, key_of
from orchestrator.domain.entries import normal
from orchestrator.domain.errors import OrchestratorError, UsageError
from orchestrator.domain.exit_codes import ExitCode, exit_code_of
from orchestrator.engine.report import count_entries
from orchestrator.journal.journal import Journal, exists, open_journal
from orchestrator.journal.records import BatchRecord

IsMeant = Callable[[BatchRecord], bool]


@contextmanager
def kept_in_history(output: Output, state: Callable[[], str], is_meant: IsMeant) -> Iterator[None]:
    """Keep, in the journal at *state*, how the block ends when it raises; the error is raised again.

    *is_meant* picks the batch; where the journal knows none or several of that kind, nothing is kept. A command line
    that cannot be carried out is no run.
    """
    started_at = time.time()
    try:
        yield
    except UsageError:
        raise
    except (Exception, StoppedBySignal) as error:
        # The history matters less than the work: whatever fails here, the error itself is raised.
        with suppress(OrchestratorError, StoppedBySignal):
            run_async(_keep, output, state(), is_meant, started_at, _code_of(error))
        raise


def known_kept_in_history(output: Output, known: KnownBatch) -> AbstractContextManager[None]:
    """As `kept_in_history`, for a command that works on a batch which the journal knows."""
    digest, state = known.record.batch, known.effective.values.state
    return kept_in_history(output, lambda: state, lambda batch: batch.batch == digest)


def batch_of(output: Output, manifest: Path, name: str | None) -> IsMeant:
    """What picks the batch of a run: its name once it is known or given, else the manifest that it is made from."""
    made_from = str(manifest.absolute())

    def is_meant(batch: BatchRecord) -> bool:
        known = output.known.get("batch") or name
        return batch.manifest_path == made_from if known is None else normal(batch.name) == normal(str(known))

    return is_meant


def state_of(invocation: Invocation, beside: Path) -> str:
    """Where the journal is, also when another setting is wrong."""
    try:
        return invocation.settings(beside=beside).values.state
    except OrchestratorError:
        flags = {name: value for name, value in invocation.flags.items() if name == "state"}
        variable = os.environ.get(f"{ENVIRONMENT_PREFIX}STATE")
        return settings_of_flags({"state": variable, **flags} if variable else flags).values.state


def _code_of(error: BaseException) -> int:
    if isinstance(error, StoppedBySignal):
        return error.exit_code
    return exit_code_of(error) if isinstance(error, OrchestratorError) else ExitCode.UNEXPECTED


async def _keep(output: Output, state: str, is_meant: IsMeant, started_at: float, exit_code: int) -> None:
    if not exists(state):
        return
    run_id = str(output.known.get("run_id") or new_run_id(started_at))
    async with open_journal(state, clock=time.time) as journal:
        meant = [batch for batch in await journal.batches() if is_meant(batch)]
        # The run may have come as far as the journal, which then knows which batch it was.
        own = [batch for batch in meant if batch.last_run_id == run_id] or meant
        if len(own) == 1:
            await _keep_run(journal, own[0], run_id, started_at, exit_code)


async def _keep_run(
    journal: Journal, batch: BatchRecord, run_id: str, started_at: float, exit_code: int
) -> None:
    counts = await journal.counts(batch.batch)
    await journal.keep_refused_run(
        batch.batch,
        run_id,
        started_at,
        exit_code,
        count_entries(counts, undecided=0, with_submit=batch.is_submit_wanted).as_dict(),
        is_last=await journal.batch_holder(key_of(batch)) is None,
    )
