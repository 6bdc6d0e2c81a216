"""`orchestrator submit`."""

from __future__ import annotations

from orchestrator.cli.commands.batch_arguments import BatchArgument
from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.options import RUN_OPTIONS, SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, RUN_OPTIONS)
def submit(invocation: Invocation, batch: BatchArgument) -> int:
    """Send uploaded jobs to review.

    Every job of the batch that holds its files and was not submitted yet; never one twice. A job that has
    passed its first review can no longer be deleted. The journal knows endpoint and project of the batch, so
    only credentials are needed.

    \b
    Examples:
      orchestrator submit studio
      orchestrator submit studio --json
    """
    from orchestrator.cli.work.submit import submit_jobs  # noqa: PLC0415 - keeps --help quick

    return submit_jobs(invocation, batch)
