"""`orchestrator status`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.options import SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS)
def status(
    invocation: Invocation,
    batch: Annotated[
        str | None,
        typer.Argument(
            metavar="BATCH", help="The name of a batch, or its digest, for its entries.", show_default=False
        ),
    ] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Every entry, on a terminal too, where long lists are cut.")
    ] = False,
) -> int:
    """Show the batches, or the entries of one.

    State, size, job and last error as the journal knows them; nobody is asked and no credentials are needed.

    \b
    Examples:
      orchestrator status
      orchestrator status studio-2026-11
      orchestrator status studio-2026-11 --json
    """
    from orchestrator.cli.standing import show_batch, show_batches  # noqa: PLC0415 - keeps --help quick

    if batch is None:
        return show_batches(invocation)
    return show_batch(invocation, batch, is_all_wanted=every)
