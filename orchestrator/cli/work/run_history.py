"""The history of a batch's runs in the journal: one that ends with an error leaves its code too; `status --runs`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from orchestrator.api.options import ENVIRONMENT_PREFIX
from orchestrator.api.run_report import IsMeant, keep_end
from orchestrator.api.settings import settings_of_flags
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, Row, print_table
from orchestrator.cli.process import StoppedBySignal, run_async
from orchestrator.cli.work.batches import KnownBatch, find_batch, has_journal, read_journal, unknown_batch
from orchestrator.domain.entries import normal
from orchestrator.domain.errors import OrchestratorError, UsageError
from orchestrator.domain.exit_codes import ExitCode, exit_code_of_any
from orchestrator.journal.history import RunRecord
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord
from orchestrator.observe.wording import duration, moment, short_moment

_SHOWN_RUNS = 20
_ALL = 10**9
#: Said together, before the others.
_COUNTED = frozenset({"total", "done"})
_HEADINGS = ("started", "took", "exit", "entries", "run", "process")


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
            code = error.exit_code if isinstance(error, StoppedBySignal) else exit_code_of_any(error)
            run_id = output.known.get("run_id")
            run_async(keep_end, state(), is_meant, started_at, code, None if run_id is None else str(run_id))
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


def show_runs(invocation: Invocation, name: str, *, is_all_wanted: bool) -> ExitCode:
    """Print the runs of the batch with this name or digest, the latest first; raises UsageError without one."""
    effective, output = invocation.settings(), invocation.output
    if not has_journal(effective):
        raise unknown_batch(name, effective)
    limit = _ALL if is_all_wanted or output.is_json else _SHOWN_RUNS

    async def read(journal: Journal) -> tuple[BatchRecord, str | None, list[RunRecord]]:
        batch = await find_batch(journal, effective, name)
        holder = await journal.batch_holder(batch.key)
        # One more than is shown, to know that there are more.
        return batch, holder, await journal.runs(batch.batch, limit=limit + 1)

    batch, holder, runs = read_journal(effective, read)
    if output.is_json:
        head = {"schema": SCHEMA, "batch": batch.name, "digest": batch.batch}
        output.document(
            {
                **head,
                "runs": [
                    {
                        "run_id": run.run_id,
                        "started_at": moment(run.started_at),
                        "ended_at": None if run.ended_at is None else moment(run.ended_at),
                        "exit_code": run.exit_code,
                        "state": state_of_run(run, holder),
                        "entries": run.entries,
                        "host": run.host,
                        "pid": run.pid,
                        "version": run.version,
                    }
                    for run in runs
                ],
            }
        )
    elif not runs:
        output.say(f"no runs of {batch.name} recorded yet")
    else:
        print_table(output, _HEADINGS, [_row(run, holder) for run in runs[:limit]])
        if len(runs) > limit:
            output.say("earlier runs are not shown; --all shows them")
    return ExitCode.OK


def state_of_run(run: RunRecord, holder: str | None) -> str:
    """Whether the run is `running`, `ended` or was `killed`; *holder* is the process that has the batch's lock."""
    if run.ended_at is not None:
        return "ended"
    return "running" if run.process == holder else "killed"


def _row(run: RunRecord, holder: str | None) -> Row:
    took = "-" if run.ended_at is None else duration(run.ended_at - run.started_at)
    ended = state_of_run(run, holder) if run.exit_code is None else str(run.exit_code)
    counted = "-"
    if run.entries is not None:
        others = (f"{count} {name}" for name, count in run.entries.items() if count and name not in _COUNTED)
        done = f"{run.entries.get('done', 0)} of {run.entries.get('total', 0)} done"
        counted = ", ".join([done, *others])
    return (short_moment(run.started_at), took, ended, counted, run.run_id, run.process)
