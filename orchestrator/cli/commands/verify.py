"""`orchestrator verify`."""

from __future__ import annotations

from orchestrator.cli.invocation import BatchArgument, EntryPatterns, Invocation, takes_settings
from orchestrator.settings.options import SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, unused=("progress", "log_max_size"))
def verify(
    invocation: Invocation,
    batch: BatchArgument,
    *,
    entry: EntryPatterns = None,
) -> int:
    """Hash the files of a batch again and compare them with what was sent.

    Where the service shows the stored objects, they are compared too; without credentials only the files here
    are. Sends nothing.
    Exit code 0 when all are the same, 8 when one has changed, 9 when one cannot be compared.

    \b
    Examples:
      orchestrator verify studio
      orchestrator verify studio --entry 'take-*'
      orchestrator verify studio --json
    """
    from orchestrator.cli.work.verify import verify_files  # noqa: PLC0415 - keeps --help quick

    return verify_files(invocation, batch, entry or ())
