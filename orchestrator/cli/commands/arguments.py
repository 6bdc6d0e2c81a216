"""Arguments that several commands take: those with a manifest, and those about a batch the journal knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.errors import UsageError
from orchestrator.domain.quantities import parse_duration

ManifestPath = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST", help="The manifest: a .yaml, .csv or .xlsx file.", show_default=False),
]
BatchName = Annotated[
    str | None,
    typer.Option(
        "--batch-name",
        metavar="NAME",
        help="Batch name; overrides the manifest (env ORCHESTRATOR_BATCH_NAME; default the file's name)",
        envvar="ORCHESTRATOR_BATCH_NAME",
        show_envvar=False,
    ),
]
Defaults = Annotated[
    list[str] | None,
    typer.Option(
        "--default",
        metavar="FIELD=VALUE",
        help="Value of a field for avatars that do not set it; may be repeated",
    ),
]


EntryPatterns = Annotated[
    list[str] | None,
    typer.Option(
        "--entry",
        metavar="PATTERN",
        help="Only entries with this ID, or that fit a glob such as 'av1*'; may be repeated",
        show_default=False,
    ),
]
BatchArgument = Annotated[
    str, typer.Argument(metavar="BATCH", help="The name of a batch, or its digest.", show_default=False)
]
Agreed = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; required without a terminal")
]


def seconds_of(option: str, text: str | None) -> float | None:
    """The time given with *option*, such as 30d or 90s, in seconds; raises UsageError."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
