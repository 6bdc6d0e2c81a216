"""`orchestrator cancel`."""

from __future__ import annotations

from orchestrator.cli.invocation import Agreed, BatchArgument, EntryPatterns, Invocation, takes_settings
from orchestrator.settings.options import CALL_OPTIONS, EVENTS_OPTIONS, SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, CALL_OPTIONS, EVENTS_OPTIONS, unused=("progress",))
def cancel(
    invocation: Invocation, batch: BatchArgument, *, entry: EntryPatterns = None, yes: Agreed = False
) -> int:
    """Delete jobs and their files.

    Deletes the jobs and their files on the service and marks the entries cancelled. A job that has passed its
    first review cannot be deleted; it is kept, and the reason is shown. Asks for confirmation on a terminal;
    elsewhere --yes is required. Exit code 0 when all are deleted, 8 when some are kept.

    \b
    Examples:
      orchestrator cancel studio
      orchestrator cancel studio --entry anna --yes
    """
    from orchestrator.cli.work.cancel import cancel_entries  # noqa: PLC0415 - keeps --help quick

    return cancel_entries(invocation, batch, entry or None, is_yes=yes)
