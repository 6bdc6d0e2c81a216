"""`fleet`: sets up, shows and releases what a fleet's workers share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, print_table
from orchestrator.cli.process import run_on_network
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.quantities import as_clock, moment
from orchestrator.fleet.requirements import require_server
from orchestrator.journal.backend import shown

if TYPE_CHECKING:
    from orchestrator.fleet.status import HandbackStatus

#: Rows printed for people.
_SHOWN_HANDBACKS = 20


def install_fleet(invocation: Invocation) -> ExitCode:
    """Create the tables that a fleet needs, or upgrade them."""
    output = invocation.output
    state = invocation.settings().values.state
    require_server(state)
    is_new = run_on_network(_install, state)
    if output.is_json:
        output.document({"schema": SCHEMA, "is_new": is_new, "exit_code": int(ExitCode.OK)})
    output.say(f"{shown(state)}: {'ready for workers' if is_new else 'was ready before; upgraded'}")
    return ExitCode.OK


def show_fleet(invocation: Invocation) -> ExitCode:
    """Print the workers, the queue, and what prevents uploads."""
    output = invocation.output
    state = invocation.settings().values.state
    require_server(state)
    # The queue's libraries are an extra that no other journal needs.
    from orchestrator.fleet.status import fleet_status  # noqa: PLC0415

    found = fleet_status(state)
    if output.is_json:
        output.document(
            {
                "schema": SCHEMA,
                "workers": [asdict(worker) for worker in found.workers],
                "entries": found.counts,
                "handed_back": [{**asdict(each), "at": moment(each.at)} for each in found.handed_back],
                "brakes": [asdict(brake) for brake in found.brakes],
                "exit_code": int(ExitCode.OK),
            }
        )
        return ExitCode.OK
    rows = [(worker.name, str(worker.entries), as_clock(worker.silent_seconds)) for worker in found.workers]
    if rows:
        print_table(output, ("worker", "entries", "last heartbeat"), rows)
    output.say(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.counts.items()))
    if found.handed_back:
        _print_handed_back(output, found.handed_back)
    for brake in found.brakes:
        output.say(f"stopped for {as_clock(brake.seconds)}: {brake.reason} ({brake.project})")
        output.note("`orchestrator fleet release` lets workers continue now")
    return ExitCode.OK


def _print_handed_back(output: Output, found: Sequence[HandbackStatus]) -> None:
    """Print which hosts cannot use which entries' files, and the fix for the first entry without a usable host."""
    rows = [(one.batch, one.entry, one.host, moment(one.at), one.reason) for one in found[:_SHOWN_HANDBACKS]]
    print_table(output, ("batch", "entry", "handed back by", "at", "reason"), rows)
    if len(found) > len(rows):
        output.note(f"and {len(found) - len(rows)} more; --json prints them")
    parked = next((one for one in found if one.is_parked), None)
    if parked is not None:
        key = (parked.batch, parked.entry)
        hosts = " and ".join(sorted({one.host for one in found if (one.batch, one.entry) == key}))
        output.note(
            f"{parked.entry}: no live host can use its files; mount the share on {hosts}, then "
            f"`orchestrator retry {quote(parked.batch)} --entry {quote(parked.entry)}`"
        )


def release_fleet(invocation: Invocation) -> ExitCode:
    """Release the brakes that keep workers from taking entries."""
    output = invocation.output
    state = invocation.settings().values.state
    require_server(state)
    reasons = run_on_network(_release, state)
    if output.is_json:
        output.document({"schema": SCHEMA, "released": reasons, "exit_code": int(ExitCode.OK)})
    for reason in reasons:
        output.say(f"workers continue; they were stopped because {reason}")
    if not reasons:
        output.say("the workers were not stopped")
    return ExitCode.OK


async def _release(state: str) -> list[str]:
    from orchestrator.fleet.queue import open_queue  # noqa: PLC0415
    from orchestrator.fleet.rate_limit import release_brakes  # noqa: PLC0415 - as above

    async with open_queue(state) as queries:
        return await release_brakes(queries.driver)


async def _install(state: str) -> bool:
    # The queue's libraries are an extra that no other journal needs.
    from orchestrator.fleet.queue import install  # noqa: PLC0415
    from orchestrator.journal.journal import open_journal  # noqa: PLC0415 - `fleet status` needs no journal

    async with open_journal(state, clock=time.time):
        return await install(state)
