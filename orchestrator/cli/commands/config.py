"""`orchestrator config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.options import (
    LOOK_OPTIONS,
    MANIFEST_OPTIONS,
    PLAN_OPTIONS,
    RUN_OPTIONS,
    SERVICE_OPTIONS,
)

config = typer.Typer(help="Show the settings that hold.", no_args_is_help=True)


@config.command("show")
@takes_settings(SERVICE_OPTIONS, RUN_OPTIONS, PLAN_OPTIONS, MANIFEST_OPTIONS, LOOK_OPTIONS)
def show(
    invocation: Invocation,
    manifest: Annotated[
        Path | None,
        typer.Argument(
            metavar="MANIFEST", help="Read the orchestrator.toml beside it too.", show_default=False
        ),
    ] = None,
) -> int:
    """Print every setting with where it comes from.

    Of credentials only that they are set. A flag goes before the environment (ORCHESTRATOR_JOBS=10), that
    before --config FILE, that before the
    orchestrator.toml beside the manifest, that before the user's config.toml, that before the default.

    \b
    Examples:
      orchestrator config show
      orchestrator config show studio.yaml --json
    """
    from orchestrator.cli.work.config import show_settings  # noqa: PLC0415 - keeps --help quick

    return show_settings(invocation, manifest)
