"""`orchestrator simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings

_CREDENTIALS = "Credentials it accepts"
_BEHAVIOUR = "How it behaves"


@takes_settings()
def simulate(
    invocation: Invocation,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks one.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep jobs and objects here over restarts; else they go with the simulator."
        ),
    ] = None,
    ak: Annotated[
        str | None, typer.Option(metavar="AK", help="Access key.", rich_help_panel=_CREDENTIALS)
    ] = None,
    sk: Annotated[
        str | None, typer.Option(metavar="SK", help="Secret key.", rich_help_panel=_CREDENTIALS)
    ] = None,
    project_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Project id.", rich_help_panel=_CREDENTIALS),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            help="Seconds of review and training that pass in a second.", rich_help_panel=_BEHAVIOUR
        ),
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RATE,...",
            help="Let a share of requests go wrong, for example slow-down=0.05,lost-answer=0.02; may be repeated.",
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses which requests.", rich_help_panel=_BEHAVIOUR)] = 0,
    one_time: Annotated[
        bool,
        typer.Option(
            "--one-time/--overwrite",
            help="An upload URL is good once, or the last upload wins.",
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = True,
    url_lifetime: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.001, help="How long upload URLs live.", rich_help_panel=_BEHAVIOUR
        ),
    ] = 86400.0,
    store_rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Bytes per second the store takes, for example 10M.",
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = None,
) -> int:
    """Serve a MetaStudio and its object store on this machine, to rehearse against.

    Prints the environment to export and runs until Ctrl-C. With --json: one line with endpoint, ak, sk and
    project_id, once it listens.

    \b
    Examples:
      orchestrator simulate
      orchestrator simulate --port 8437 --data sim/
      orchestrator simulate --fault slow-down=0.05,reset=0.02,lost-create=0.1 --seed 7
    """
    from orchestrator.cli.rehearsal import Rehearsal, simulate_until_stopped  # noqa: PLC0415 - quick --help

    rehearsal = Rehearsal(
        port=port,
        data=data,
        faults=fault or (),
        store_rate=store_rate,
        options={
            "ak": ak,
            "sk": sk,
            "project_id": project_id,
            "speed": speed,
            "seed": seed,
            "one_time_urls": one_time,
            "url_lifetime_seconds": url_lifetime,
        },
    )
    return simulate_until_stopped(invocation, rehearsal)
