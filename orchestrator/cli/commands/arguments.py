"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ManifestPath = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST", help="The manifest: a .yaml, .yml or .csv file.", show_default=False),
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
