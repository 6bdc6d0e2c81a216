"""`orchestrator config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.help import PanelCommand
from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.settings.options import (
    LOOK_OPTIONS,
    MANIFEST_OPTIONS,
    PLAN_OPTIONS,
    RUN_OPTIONS,
    RUN_REPORTING_OPTIONS,
    SERVICE_OPTIONS,
)

config = typer.Typer(
    name="config", help="Show effective settings.", no_args_is_help=True, rich_markup_mode=None
)


@config.command("show", cls=PanelCommand)
@takes_settings(
    SERVICE_OPTIONS,
    RUN_OPTIONS,
    RUN_REPORTING_OPTIONS,
    PLAN_OPTIONS,
    MANIFEST_OPTIONS,
    LOOK_OPTIONS,
)
def show(
    invocation: Invocation,
    manifest: Annotated[
        Path | None,
        typer.Argument(
            metavar="MANIFEST",
            help="Also read the orchestrator.toml beside this manifest.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Print every setting and where it comes from.

    Of credentials it prints only whether they are set. From the strongest to the weakest: flag, environment
    (ORCHESTRATOR_JOBS=10), --config FILE, the orchestrator.toml beside the manifest, the user's config.toml,
    default.

    \b
    Examples:
      orchestrator config show
      orchestrator config show studio.yaml --json
    """
    from orchestrator.cli.work.config import show_settings  # noqa: PLC0415 - keeps --help quick

    return show_settings(invocation, manifest)
