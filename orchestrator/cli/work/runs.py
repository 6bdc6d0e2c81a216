"""`status BATCH --runs`: the history of a batch's runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.api.settings import EffectiveSettings
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.loops import run_async
from orchestrator.cli.output import SCHEMA, Output, Row, print_table
from orchestrator.cli.work.batches import find_batch, has_journal, key_of, unknown_batch
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.journal.history import RunRecord
from orchestrator.journal.journal import open_journal
from orchestrator.journal.records import BatchRecord
from orchestrator.observe.wording import duration, moment, short_moment

_SHOWN_RUNS = 20
_ALL = 10**9
_HEADINGS = ("started", "took", "exit", "entries", "run", "process")


def show_runs(invocation: Invocation, name: str, *, is_all_wanted: bool) -> ExitCode:
    """Print the runs of the batch with this name or digest, the latest first; raises UsageError without one."""
    effective, output = invocation.settings(), invocation.output
    if not has_journal(effective):
        raise unknown_batch(name, effective)
    limit = _ALL if is_all_wanted or output.is_json else _SHOWN_RUNS
    # One more than is shown, to know that there are more.
    batch, holder, runs = run_async(_read, effective, name, limit + 1)
    if output.is_json:
        head = {"schema": SCHEMA, "batch": batch.name, "digest": batch.batch}
        output.document({**head, "runs": [_document(run, holder) for run in runs]})
    else:
        _print_result(output, batch, holder, runs, limit)
    return ExitCode.OK


async def _read(
    effective: EffectiveSettings, name: str, limit: int
) -> tuple[BatchRecord, str | None, list[RunRecord]]:
    async with open_journal(effective.values.state, clock=time.time) as journal:
        batch = await find_batch(journal, effective, name)
        holder = await journal.batch_holder(key_of(batch))
        return batch, holder, await journal.runs(batch.batch, limit=limit)


def _print_result(
    output: Output, batch: BatchRecord, holder: str | None, runs: Sequence[RunRecord], limit: int
) -> None:
    if not runs:
        output.say(f"no runs of {batch.name} recorded yet")
        return
    print_table(output, _HEADINGS, [_row(run, holder) for run in runs[:limit]])
    if len(runs) > limit:
        output.say("earlier runs are not shown; --all shows them")


def state_of_run(run: RunRecord, holder: str | None) -> str:
    """Whether the run is `running`, `ended` or was `killed`; *holder* is the process that has the batch's lock."""
    if run.ended_at is not None:
        return "ended"
    return "running" if run.process == holder else "killed"


def _document(run: RunRecord, holder: str | None) -> dict[str, object]:
    return {
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


def _row(run: RunRecord, holder: str | None) -> Row:
    took = "-" if run.ended_at is None else duration(run.ended_at - run.started_at)
    ended = state_of_run(run, holder) if run.exit_code is None else str(run.exit_code)
    return (short_moment(run.started_at), took, ended, _counted(run), run.run_id, run.process)


def _counted(run: RunRecord) -> str:
    if run.entries is None:
        return "-"
    others = [
        f"{count} {name}" for name, count in run.entries.items() if count and name not in {"total", "done"}
    ]
    return ", ".join([f"{run.entries.get('done', 0)} of {run.entries.get('total', 0)} done", *others])
