"""`orchestrator results`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import BatchArgument, EntryPatterns, Invocation, takes_settings
from orchestrator.settings.options import SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS, unused=("insecure_http", "progress", "log_max_size"))
def results(
    invocation: Invocation,
    batch: BatchArgument,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the table to FILE, readable by its owner only; it may contain contacts",
            show_default=False,
        ),
    ] = None,
    entry: EntryPatterns = None,
) -> int:
    """Write the result of every avatar as a CSV table.

    The manifest's columns, files absolute, with state, job, times, errors and the reviewer's reason. The table
    is a manifest of the same batch: `run` with it does only the rest.

    \b
    Examples:
      orchestrator results studio -o results.csv
      orchestrator results studio -o results.xlsx
      orchestrator results studio --entry 'av1*'
      orchestrator run results.csv
      orchestrator results studio --json
    """
    from orchestrator.cli.work.results import show_results  # noqa: PLC0415 - keeps --help quick

    return show_results(invocation, batch, file, entry or None)
