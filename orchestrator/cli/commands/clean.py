"""`orchestrator clean`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import Agreed, Invocation, seconds_of, takes_settings
from orchestrator.settings.options import CALL_OPTIONS, SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, CALL_OPTIONS, unused=("progress",))
def clean(
    invocation: Invocation,
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Remove finished batches from the journal whose last run is older than this, for example 30d or 12h",
            show_default=False,
        ),
    ] = None,
    with_orphans: Annotated[
        bool,
        typer.Option(
            "--orphans", help="Delete jobs on the service that this journal created and no entry owns"
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed")] = False,
    yes: Agreed = False,
) -> int:
    """Remove finished batches, and delete orphaned jobs.

    Shows them first, and asks for confirmation on a terminal. A removed batch starts from the beginning when its
    manifest is run again. Orphans are jobs without files whose tag proves that this journal created them. Batches
    that are running are skipped.

    \b
    Examples:
      orchestrator clean --older-than 30d
      orchestrator clean --older-than 30d --yes      for cron
      orchestrator clean --orphans --region cn-north-4
      orchestrator clean --orphans --yes
    """
    from orchestrator.cli.work.clean import CleanRequest, clean_batches  # noqa: PLC0415 - keeps --help quick

    request = CleanRequest(
        older_than=seconds_of("--older-than", older_than),
        with_orphans=with_orphans,
        is_yes=yes,
        is_dry_run=dry_run,
    )
    return clean_batches(invocation, request)
