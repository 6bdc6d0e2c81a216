"""`orchestrator cancel`."""

from __future__ import annotations

from orchestrator.cli.commands.batch_arguments import Agreed, BatchArgument, EntryIds
from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.options import CALL_OPTIONS, SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, CALL_OPTIONS)
def cancel(
    invocation: Invocation, batch: BatchArgument, *, entry: EntryIds = None, yes: Agreed = False
) -> int:
    """Take jobs back.

    Deletes the service's jobs and their files and marks the entries cancelled. What the service does not let
    go, a job that has passed its first review, stays with the reason. Asks at a terminal; elsewhere --yes is
    needed. Exit code 0 when all are gone, 8 when some stay.

    \b
    Examples:
      orchestrator cancel studio
      orchestrator cancel studio --entry anna --yes
    """
    from orchestrator.cli.work.cancel import cancel_entries  # noqa: PLC0415 - keeps --help quick

    return cancel_entries(invocation, batch, entry or None, is_yes=yes)
