"""`orchestrator submit`."""

from __future__ import annotations

from orchestrator.cli.invocation import BatchArgument, EntryPatterns, Invocation, takes_settings
from orchestrator.settings.options import RUN_OPTIONS, RUN_REPORTING_OPTIONS, SERVICE_OPTIONS

#: Of a run's options those that are about files, of which it sends none.
_OF_UPLOADS = (
    *("parallel", "bwlimit", "verify", "verify_object", "idle_timeout", "max_transfer", "on_expired"),
    "submit_anyway",
)


@takes_settings(SERVICE_OPTIONS, RUN_OPTIONS, RUN_REPORTING_OPTIONS, unused=_OF_UPLOADS)
def submit(invocation: Invocation, batch: BatchArgument, *, entry: EntryPatterns = None) -> int:
    """Send uploaded jobs to review.

    Submits every job of the batch whose files are stored and that was not submitted yet, each once. A job that
    has passed its first review can no longer be deleted. The journal knows the batch's endpoint and project, so
    only credentials are needed.

    \b
    Examples:
      orchestrator submit studio
      orchestrator submit studio --json
    """
    from orchestrator.cli.work.run import submit_jobs  # noqa: PLC0415 - keeps --help quick

    return submit_jobs(invocation, batch, entry or None)
