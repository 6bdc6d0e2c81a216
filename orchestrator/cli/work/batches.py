"""Batches of the journal: lookup by name, and `status --runs`."""

from __future__ import annotations

import difflib
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TypeVar

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Row, print_table
from orchestrator.cli.process import run_async
from orchestrator.domain.entries import is_named_by, normal
from orchestrator.domain.errors import ExitCode, UsageError
from orchestrator.domain.quantities import as_clock, moment
from orchestrator.domain.states import EntryState
from orchestrator.journal.backend import shown
from orchestrator.journal.history import RunRecord
from orchestrator.journal.journal import Journal, exists, open_journal
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import BatchRecord, EntryRecord
from orchestrator.observe.wording import short_moment
from orchestrator.settings.sources import EffectiveSettings

T = TypeVar("T")
_SHOWN_RUNS = 20
_ALL = 10**9
#: Counts that are printed together, before the others.
_COUNTED = frozenset({"total", "done"})
_HEADINGS = ("started", "took", "exit", "entries", "run", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBatch:
    """A batch of the journal; *effective* holds the settings for its endpoint and project."""

    record: BatchRecord
    effective: EffectiveSettings

    @property
    def as_enqueued(self) -> EffectiveSettings:
        """The settings for another command on a fleet's batch, which keeps the settings it was queued with.

        `submit_anyway` is excepted: each command decides it. Raises JournalError.
        """
        if self.record.settings is None:
            return self.effective
        return self.effective.as_enqueued(self.record.settings, but={"submit_anyway"})


def known_batch(invocation: Invocation, name: str) -> KnownBatch:
    """Return the batch with this name or digest; its service need not be given.

    The settings are those that apply beside its manifest. Raises UsageError if there is no such batch, or if the
    flags name another service.
    """
    effective = invocation.settings()
    if not has_journal(effective):
        raise unknown_batch(name, effective)
    record = read_journal(effective, lambda journal: find_batch(journal, effective, name))
    is_given = not {"endpoint", "region"}.isdisjoint(invocation.flags)
    if is_given and (effective.endpoint or "").rstrip("/") != record.endpoint:
        raise UsageError(
            f"batch {record.name} is on {record.endpoint}, not on {effective.endpoint}",
            hint="remove --endpoint and --region: the journal knows the batch's service",
        )
    beside = invocation.settings(beside=None if record.manifest_path is None else Path(record.manifest_path))
    return KnownBatch(
        record=record, effective=beside.at(record.endpoint, record.project_id, effective.values.state)
    )


async def find_batch(journal: Journal, effective: EffectiveSettings, name: str) -> BatchRecord:
    """Return the batch called *name*, of the configured endpoint and project; raises UsageError."""
    endpoint, project_id = effective.endpoint, effective.values.project_id
    found = await journal.batches_named(name, project_id=project_id, or_digest=True)
    if len(found) > 1:
        # An endpoint is usually a permanent setting; it must not hide the only batch of that name.
        found = [batch for batch in found if endpoint in {None, batch.endpoint}]
    if not found:
        raise unknown_batch(name, effective)
    if len(found) > 1:
        choices = ", ".join(f"{batch.batch} ({batch.endpoint}, {batch.project_id})" for batch in found)
        raise UsageError(
            f"there are {len(found)} batches named {name}: {choices}", hint="name one by its digest"
        )
    return found[0]


def unknown_batch(name: str, effective: EffectiveSettings) -> UsageError:
    """Return the error for a name without a batch."""
    state = effective.values.state
    hint = "`orchestrator status` lists the batches; --state names another journal"
    if state in set(EntryState):
        hint = f"--state names the journal; --in-state {state} shows the entries in that state"
    return UsageError(f"there is no batch {name} in {shown(state)}", hint=hint)


def has_journal(effective: EffectiveSettings) -> bool:
    """True when there is a journal: reading must not create one."""
    return exists(effective.values.state)


def read_journal(effective: EffectiveSettings, read: Callable[[Journal], Awaitable[T]]) -> T:
    """Return the result of *read* for the configured journal.

    Raises ConfigurationError, JournalError, StoppedBySignal.
    """

    async def opened() -> T:
        async with open_journal(effective.values.state, clock=time.time) as journal:
            return await read(journal)

    return run_async(opened)


async def find_entry(journal: JournalReader, batch: BatchRecord, entry_id: str) -> EntryRecord:
    """Return the entry with this id; raises UsageError if the batch has none."""
    record = await journal.entry(batch.batch, entry_id)
    if record is None:
        near = difflib.get_close_matches(entry_id, await journal.entry_ids(batch.batch), n=1)
        raise UsageError(
            f"batch {batch.name} has no entry {entry_id}",
            hint=f"did you mean {near[0]}?"
            if near
            else f"`orchestrator status {quote(batch.name)}` lists them",
        )
    return record


async def matching_entries(
    journal: JournalReader, batch: BatchRecord, patterns: Collection[str] | None
) -> list[str] | None:
    """Return the ids of the entries that match *patterns*, ids or globs; None for all, as without patterns.

    Raises UsageError for a pattern that matches no entry.
    """
    if patterns is None:
        return None
    known = await journal.entry_ids(batch.batch)
    found: dict[str, None] = {}
    for pattern in patterns:
        # `take[1]` is the entry with this id if there is one; only otherwise is it a glob that matches take1.
        exact = [entry_id for entry_id in known if normal(entry_id) == normal(pattern)]
        matching = exact or sorted(entry_id for entry_id in known if is_named_by(entry_id, pattern))
        # Entries that are no longer in the manifest can be named too.
        found |= dict.fromkeys(matching or [(await find_entry(journal, batch, pattern)).entry_id])
    return list(found)


def show_runs(invocation: Invocation, name: str, *, is_all_wanted: bool) -> ExitCode:
    """Print the runs of the batch with this name or digest, the latest first; raises UsageError if there is none."""
    effective, output = invocation.settings(), invocation.output
    if not has_journal(effective):
        raise unknown_batch(name, effective)
    limit = _ALL if is_all_wanted or output.is_json else _SHOWN_RUNS

    async def read(journal: Journal) -> tuple[BatchRecord, str | None, list[RunRecord]]:
        batch = await find_batch(journal, effective, name)
        holder = await journal.batch_holder(batch.key)
        # One more than is shown, to detect that there are more.
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
    """Return `running`, `ended` or `killed`; *holder* is the process that holds the batch's lock."""
    if run.ended_at is not None:
        return "ended"
    return "running" if run.process == holder else "killed"


def _row(run: RunRecord, holder: str | None) -> Row:
    took = "-" if run.ended_at is None else as_clock(run.ended_at - run.started_at)
    ended = state_of_run(run, holder) if run.exit_code is None else str(run.exit_code)
    counted = "-"
    if run.entries is not None:
        others = (f"{count} {name}" for name, count in run.entries.items() if count and name not in _COUNTED)
        done = f"{run.entries.get('done', 0)} of {run.entries.get('total', 0)} done"
        counted = ", ".join([done, *others])
    return (short_moment(run.started_at), took, ended, counted, run.run_id, run.process)
