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


@fleet.command("status", cls=PanelCommand)
@takes_settings()
def status(invocation: Invocation) -> int:
    """Show the workers, what is queued, and what stops them.

    Workers, with the number of their entries and the time since their last heartbeat; entries that are queued,
    deferred, in progress, stale (their worker was silent for a minute) or parked (they ended their workers too
    often, or no host can use their files); and which hosts cannot use the files of which entries.

    \b
    Examples:
      orchestrator fleet status
      orchestrator fleet status --json
    """
    from orchestrator.cli.work.fleet import show_fleet  # noqa: PLC0415 - keeps --help quick

    return show_fleet(invocation)


@fleet.command("release", cls=PanelCommand)
@takes_settings()
def release(invocation: Invocation) -> int:
    """Let workers continue that the service's refusals have stopped.

    When the service refuses several avatars in a row alike, for payment or permission, all workers of the project
    take none for 10 minutes. Use this once the account is in order.

    \b
    Examples:
      orchestrator fleet release
    """
    from orchestrator.cli.work.fleet import release_fleet  # noqa: PLC0415 - keeps --help quick

    return release_fleet(invocation)
