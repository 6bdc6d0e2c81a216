"""`submit`: jobs that hold their files go to review."""

from __future__ import annotations

import os

from orchestrator.cli.batches import KnownBatch, known_batch
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.loops import run_on_network
from orchestrator.cli.output import Output
from orchestrator.cli.report import tell_run
from orchestrator.cli.session import open_session
from orchestrator.engine.batch import submit_batch


def submit_jobs(invocation: Invocation, name: str) -> int:
    """Submit what the batch called *name* has uploaded and return the exit code."""
    known = known_batch(invocation, name)
    return run_on_network(_submit, invocation.output, known)


async def _submit(output: Output, known: KnownBatch) -> int:
    name = known.record.name
    async with open_session(
        output, known.effective, name, is_submit_wanted=True, environ=os.environ
    ) as session:
        report = await submit_batch(session.work, name, session.journal, session.events, session.clocks)
        await tell_run(output, report, session.journal, had_work=session.tracker.has_worked)
    return report.exit_code
