"""`orchestrator fleet`."""

from __future__ import annotations

import typer

from orchestrator.cli.help import PanelCommand
from orchestrator.cli.invocation import Invocation, takes_settings

fleet = typer.Typer(
    name="fleet",
    help="Manage what workers on several hosts share.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@fleet.callback()
def _group() -> None:
    """Manage what workers on several hosts share."""


@fleet.command("install", cls=PanelCommand)
@takes_settings()
def install(invocation: Invocation) -> int:
    """Prepare a journal in PostgreSQL for workers.

    Creates the tables of the journal and of its queue, or upgrades them; running it again is harmless. Needs a
    user who may create tables.

    \b
    Examples:
      orchestrator fleet install --state postgresql://studio@db/uploads
    """
    from orchestrator.cli.work.fleet import install_fleet  # noqa: PLC0415 - keeps --help quick

    return install_fleet(invocation)
