"""`clean`: removes finished batches from the journal, and deletes jobs that no entry owns."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, Row, can_ask, is_agreed, print_table, require_consent
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import open_service_session
from orchestrator.cli.work.batches import has_journal
from orchestrator.domain.errors import (
    ExitCode,
    LockHeldError,
    OrchestratorError,
    RequestRejectedError,
    UsageError,
)
from orchestrator.domain.quantities import moment
from orchestrator.engine.cleaning import (
    LeftoverJob,
    Origin,
    delete_orphan,
    finished_batches,
    is_finished,
    leftover_jobs,
)
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import BatchRecord
from orchestrator.settings.sources import EffectiveSettings

Subject = TypeVar("Subject", BatchRecord, LeftoverJob)

_FOUND = "found"
_REMOVED = "removed"
_KEPT = "kept"
_REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRequest:
    """The request of `clean`: batches idle for *older_than* seconds, None for none; orphans; consent by --yes."""

    older_than: float | None
    with_orphans: bool
    is_yes: bool
    is_dry_run: bool


@dataclass(slots=True)
class Found(Generic[Subject]):
    """A batch or a job that may be removed, and the outcome."""

    subject: Subject
    outcome: str = _FOUND
    reason: str | None = None

    def keep(self, outcome: str, error: OrchestratorError) -> None:
        """Record that the subject was kept because of *error*."""
        self.outcome, self.reason = outcome, error.message


@dataclass(frozen=True, slots=True)
class Foreign:
    """A job that another journal made for one of our batches, and the command that takes it over."""

    job: LeftoverJob
    adopt: str


@dataclass(slots=True)
class Cleanup:
    """The batches and jobs found by `clean`."""

    batches: list[Found[BatchRecord]] = field(default_factory=list)
    orphans: list[Found[LeftoverJob]] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code; only a job that the service refuses to delete is a failure, not one skipped during a run."""
        is_refused = any(found.outcome == _REFUSED for found in self.orphans)
        return ExitCode.SOME_FAILED if is_refused else ExitCode.OK


def clean_batches(invocation: Invocation, request: CleanRequest) -> ExitCode:
    """Show what would be removed, and remove it with consent.

    Raises UsageError if batches are to be removed without a terminal or --yes.
    """
    output = invocation.output
    if request.older_than is None and not request.with_orphans:
        raise UsageError("nothing to clean", hint="give --older-than 30d or --orphans")
    if request.older_than is not None and not request.is_dry_run:
        require_consent(output, is_yes=request.is_yes)
    effective = invocation.settings()

    async def find() -> Cleanup:
        cleanup = Cleanup()
        if request.with_orphans:
            async with open_service_session(output, effective, None) as session:
                batches = {batch.batch: batch for batch in await session.journal.batches()}
                async for job in leftover_jobs(session.journal, session.client):
                    if job.origin is Origin.ORPHAN:
                        cleanup.orphans.append(Found(job))
                    else:
                        cleanup.foreign.append(Foreign(job, _adopting(batches[job.batch])))
        if request.older_than is not None:
            async with open_journal(effective.values.state, clock=time.time) as journal:
                old = await finished_batches(journal, run_before=time.time() - request.older_than)
                cleanup.batches.extend(map(Found, old))
        return cleanup

    cleanup = run_on_network(find) if has_journal(effective) else Cleanup()
    _show(output, request, cleanup)
    if (cleanup.batches or cleanup.orphans) and _is_agreed(output, request, cleanup):
        run_on_network(_remove, output, effective, cleanup)
    _print_result(output, request, cleanup)
    return cleanup.exit_code


def _adopting(batch: BatchRecord) -> str:
    """Return the command that takes over jobs of *batch* made by another journal."""
    manifest = Path(batch.manifest_path or "MANIFEST")
    file, name = shlex.quote(str(manifest)), shlex.quote(batch.name)
    if batch.is_named(manifest.stem):
        return f"orchestrator run {file} --on-existing adopt"
    return f"orchestrator run {file} --batch-name {name} --on-existing adopt"


def _is_agreed(output: Output, request: CleanRequest, cleanup: Cleanup) -> bool:
    if request.is_dry_run or not (request.is_yes or can_ask(output)):
        return False
    batches = len(cleanup.batches)
    jobs = len(cleanup.orphans)
    removals = []
    if batches:
        removals.append(f"remove {batches} finished batch{'' if batches == 1 else 'es'} from the journal")
    if jobs:
        removals.append(f"delete {jobs} orphaned job{'' if jobs == 1 else 's'} from the service")
    return is_agreed(output, " and ".join(removals).capitalize() + "?", is_yes=request.is_yes)


async def _remove(output: Output, effective: EffectiveSettings, cleanup: Cleanup) -> None:
    """Delete the orphans first: nothing is known about a batch once it is removed."""
    if cleanup.orphans:
        async with open_service_session(output, effective, None) as session:
            batches = {batch.batch: batch for batch in await session.journal.batches()}
            for found in cleanup.orphans:
                orphan = found.subject
                try:
                    async with session.journal.hold_batch(batches[orphan.batch].key):
                        reason = await delete_orphan(session.journal, session.client, orphan)
                except LockHeldError as error:
                    found.keep(_KEPT, error)
                except RequestRejectedError as error:
                    found.keep(_REFUSED, error)
                else:
                    found.outcome, found.reason = _REMOVED if reason is None else _KEPT, reason
    if cleanup.batches:
        async with open_journal(effective.values.state, clock=time.time) as journal:
            for old in cleanup.batches:
                await _forget(journal, old)


async def _forget(journal: Journal, found: Found[BatchRecord]) -> None:
    batch = found.subject
    try:
        async with journal.hold_batch(batch.key):
            if await is_finished(journal, batch):
                await journal.forget_batch(batch.batch)
                found.outcome = _REMOVED
            else:
                found.outcome, found.reason = _KEPT, "it has unfinished entries"
    except LockHeldError as error:
        found.keep(_KEPT, error)


def _show(output: Output, request: CleanRequest, cleanup: Cleanup) -> None:
    if request.with_orphans:
        jobs = [
            (orphan.subject.job_id, orphan.subject.name, orphan.subject.batch_name or "-")
            for orphan in cleanup.orphans
        ]
        title = f"jobs of this journal that no entry owns: {len(jobs)}"
        _show_all(output, title, ("job", "name", "batch"), jobs)
        if cleanup.foreign:
            others = [
                (found.job.job_id, found.job.name, found.job.batch_name or "-", found.adopt)
                for found in cleanup.foreign
            ]
            title = f"jobs of another journal, never deleted here: {len(others)}"
            _show_all(output, title, ("job", "name", "batch", "command to take it over"), others)
    if request.older_than is not None:
        batches = [
            (found.subject.name, _last_run(found.subject) or "-", found.subject.batch, found.subject.endpoint)
            for found in cleanup.batches
        ]
        title = f"finished batches: {len(batches)}"
        _show_all(output, title, ("batch", "last run", "digest", "service"), batches)


def _show_all(output: Output, title: str, headings: Row, rows: Sequence[Row]) -> None:
    output.say(title)
    if rows:
        print_table(output, headings, rows)


def _print_result(output: Output, request: CleanRequest, cleanup: Cleanup) -> None:
    if output.is_json:
        output.document(_document(request, cleanup))
        return
    for found in cleanup.orphans:
        if found.reason is not None:
            output.note(f"job {found.subject.job_id} was kept: {found.reason}")
    for batch in cleanup.batches:
        if batch.reason is not None:
            output.note(f"batch {batch.subject.name} was kept: {batch.reason}")
    outcomes = [found.outcome for found in cleanup.orphans] + [found.outcome for found in cleanup.batches]
    gone = outcomes.count(_REMOVED)
    if gone:
        output.say(f"{gone} removed")
    elif outcomes:
        output.note("nothing was removed; add --yes to remove what is listed")


def _document(request: CleanRequest, cleanup: Cleanup) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "exit_code": int(cleanup.exit_code),
        "is_dry_run": request.is_dry_run,
        "batches": [
            {
                "batch": found.subject.name,
                "digest": found.subject.batch,
                "endpoint": found.subject.endpoint,
                "project_id": found.subject.project_id,
                "last_run_at": _last_run(found.subject),
                "outcome": found.outcome,
                "reason": found.reason,
            }
            for found in cleanup.batches
        ],
        "orphans": [
            {
                "job_id": found.subject.job_id,
                "name": found.subject.name,
                "batch": found.subject.batch_name,
                "create_time": found.subject.create_time,
                "outcome": found.outcome,
                "reason": found.reason,
            }
            for found in cleanup.orphans
        ],
        "foreign": [
            {
                "job_id": found.job.job_id,
                "name": found.job.name,
                "batch": found.job.batch_name,
                "create_time": found.job.create_time,
                "adopt": found.adopt,
            }
            for found in cleanup.foreign
        ],
    }


def _last_run(batch: BatchRecord) -> str | None:
    return None if batch.last_run_at is None else moment(batch.last_run_at)
