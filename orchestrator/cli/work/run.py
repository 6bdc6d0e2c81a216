"""`run` and `submit`: a manifest brought to its end, and jobs that hold their files sent to review."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from orchestrator.api.checking import Asked, check_patterns, refuse_fleet
from orchestrator.api.session import Session, work_on
from orchestrator.api.settings import EffectiveSettings
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import open_shown_session
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.cli.work.enqueue import enqueue_by
from orchestrator.cli.work.report import print_run
from orchestrator.cli.work.run_history import batch_of, kept_in_history, known_kept_in_history, state_of
from orchestrator.cli.work.validate import (
    ProblemReport,
    is_setting_wrong,
    refuse_invalid,
)
from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine.batch import submit_batch
from orchestrator.journal.backend import is_url

if TYPE_CHECKING:
    from orchestrator.fleet.enqueueing import Enqueued, Office


def run_manifest(invocation: Invocation, asked: Asked) -> int:
    """Bring the manifest's batch to its end and return the exit code.

    A manifest with errors is refused before anything else that is wrong.
    """
    output = invocation.output
    problems = ProblemReport(output)
    is_meant = batch_of(output, asked.path, asked.batch_name)
    with kept_in_history(output, lambda: state_of(invocation, asked.path), is_meant):
        try:
            effective = invocation.settings(beside=asked.path)
            refuse_fleet(effective.values.state, asked.path)
            return run_on_network(run_once, invocation, asked, effective, problems)
        except OrchestratorError as error:
            if is_setting_wrong(error) and not problems.was_called:
                refuse_invalid(invocation, asked, problems)
            raise


async def run_once(
    invocation: Invocation,
    asked: Asked,
    effective: EffectiveSettings,
    problems: ProblemReport,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run the batch once with *effective* settings and the credentials of *environ*."""
    manifest = asked.open(effective.values)
    check_patterns(manifest, asked.patterns)
    output = invocation.output
    async with open_shown_session(
        output,
        effective,
        manifest.batch_name,
        is_submit_wanted=manifest.is_submit_wanted,
        environ=environ,
    ) as session:
        report = await work_on(
            session, asked, manifest, with_media=effective.values.media_check, on_problems=problems
        )
        await print_run(output, report, session.journal, had_work=session.tracker.has_worked)
        await session.report_end(report)
    return report.exit_code


def submit_jobs(invocation: Invocation, name: str, patterns: Collection[str] | None = None) -> int:
    """Submit what the batch called *name* has uploaded, all or what *patterns* mean, and return the exit code."""
    known = known_batch(invocation, name)
    with known_kept_in_history(invocation.output, known):
        return run_on_network(_submit, invocation.output, known, patterns)


async def _submit(output: Output, known: KnownBatch, patterns: Collection[str] | None) -> int:
    name = known.record.name
    if is_url(known.effective.values.state):

        async def act(session: Session, office: Office) -> Enqueued:
            ids = await matching_entries(session.journal, known.record, patterns)
            return await office.submit(session.work, name, ids)

        return await enqueue_by(output, known.effective, name, act, is_submit_wanted=True)
    async with open_shown_session(
        output, known.effective, name, is_submit_wanted=True, environ=os.environ
    ) as session:
        ids = await matching_entries(session.journal, known.record, patterns)
        report = await submit_batch(
            session.work, name, session.journal, session.events, session.clocks, entry_ids=ids
        )
        await print_run(output, report, session.journal, had_work=session.tracker.has_worked)
        await session.report_end(report)
    return report.exit_code
