"""`orchestrator retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.commands.arguments import Defaults
from orchestrator.cli.commands.batch_arguments import BatchArgument, EntryIds
from orchestrator.cli.errors import UsageError
from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.options import MANIFEST_OPTIONS, PLAN_OPTIONS, RUN_OPTIONS, SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, RUN_OPTIONS, PLAN_OPTIONS, MANIFEST_OPTIONS)
def retry(
    invocation: Invocation,
    batch: BatchArgument,
    *,
    entry: EntryIds = None,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Also bring every cancelled entry back, with a new job")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="PATH",
            help="The manifest, when it is no longer where the last run read it",
            show_default=False,
        ),
    ] = None,
    default: Defaults = None,
) -> int:
    """Retry failed entries.

    A failed upload goes on where it stopped. A cancelled entry comes back, with a new job, when --entry names it
    or --cancelled asks for all. A job whose review failed is updated, gets the files and fields
    that were replaced since, and is confirmed and submitted again; where nothing was replaced it is left alone,
    unless --entry names it. Files and fields are those of the manifest as it is now.

    \b
    Examples:
      orchestrator retry studio
      orchestrator retry studio --entry anna --entry bo
      orchestrator retry studio --cancelled
      orchestrator retry studio --manifest moved/studio.yaml
    """
    from orchestrator.cli.work.retry import RetryRequest, retry_entries  # noqa: PLC0415 - keeps --help quick

    if cancelled and entry:
        raise UsageError(
            "--cancelled is about every entry",
            hint="leave --entry out, or --cancelled: --entry alone brings it back",
        )
    request = RetryRequest(
        entry_ids=entry or None,
        is_cancelled_wanted=cancelled,
        manifest=manifest,
        defaults=default or (),
    )
    return retry_entries(invocation, batch, request)
