"""`orchestrator retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import (
    BatchArgument,
    Defaults,
    EntryPatterns,
    Invocation,
    defaults_of,
    takes_settings,
)
from orchestrator.domain.errors import UsageError
from orchestrator.settings.options import (
    MANIFEST_OPTIONS,
    PLAN_OPTIONS,
    RUN_OPTIONS,
    RUN_REPORTING_OPTIONS,
    SERVICE_OPTIONS,
)


@takes_settings(SERVICE_OPTIONS, RUN_OPTIONS, PLAN_OPTIONS, MANIFEST_OPTIONS, RUN_REPORTING_OPTIONS)
def retry(
    invocation: Invocation,
    batch: BatchArgument,
    *,
    entry: EntryPatterns = None,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Also bring back every cancelled entry, with a new job")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="PATH",
            help="The manifest's new path, if it moved since the last run",
            show_default=False,
        ),
    ] = None,
    default: Defaults = None,
) -> int:
    """Retry failed entries.

    A failed upload continues where it stopped. A cancelled entry is brought back, with a new job, by --entry or
    --cancelled. A job whose review failed is updated with the files and fields that were replaced since, then
    confirmed and submitted again; if nothing was replaced it is skipped, unless --entry names it. Reads files and
    fields from the manifest as it is now.

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
            "--cancelled and --entry cannot be combined",
            hint="use --entry to bring back one entry, --cancelled to bring back all",
        )
    request = RetryRequest(
        entry_ids=entry or None,
        is_cancelled_wanted=cancelled,
        manifest=manifest,
        defaults=defaults_of(default),
    )
    return retry_entries(invocation, batch, request)
