"""`fleet`: what workers on several hosts share."""

from __future__ import annotations

import time

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA
from orchestrator.cli.process import run_on_network
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.fleet.location import require_server
from orchestrator.journal.backend import shown
from orchestrator.journal.journal import open_journal


def install_fleet(invocation: Invocation) -> ExitCode:
    """Make the tables that a fleet needs, or upgrade them."""
    output = invocation.output
    state = invocation.settings().values.state
    require_server(state)
    is_new = run_on_network(_install, state)
    if output.is_json:
        output.document({"schema": SCHEMA, "is_new": is_new, "exit_code": int(ExitCode.OK)})
    output.say(f"{shown(state)}: {'ready for workers' if is_new else 'was ready before; upgraded'}")
    return ExitCode.OK


async def _install(state: str) -> bool:
    # Its libraries are an extra, which no other journal needs.
    from orchestrator.fleet.queue import install  # noqa: PLC0415

    async with open_journal(state, clock=time.time):
        return await install(state)
