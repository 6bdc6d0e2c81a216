"""`orchestrator simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings

Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks one.")]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep jobs and objects here over restarts; else they go with it."),
]
AccessKey = Annotated[str | None, typer.Option(metavar="AK", help="The access key it accepts.")]
SecretKey = Annotated[str | None, typer.Option(metavar="SK", help="The secret key it accepts.")]
Project = Annotated[str | None, typer.Option(metavar="ID", help="The project id it accepts.")]
Speed = Annotated[float, typer.Option(help="Seconds of review and training that pass in a second.")]
FaultRates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=RATE,...",
        help="Let a share of requests go wrong, for example slow-down=0.05,lost-answer=0.02; may be repeated.",
    ),
]
Seed = Annotated[int, typer.Option(help="Chooses which requests go wrong.")]
OneTime = Annotated[
    bool,
    typer.Option("--one-time/--overwrite", help="An upload URL is good once, or the last upload wins."),
]
UrlLifetime = Annotated[float, typer.Option(metavar="SECONDS", min=0.001, help="How long upload URLs live.")]
StoreRate = Annotated[
    str | None, typer.Option(metavar="RATE", help="Bytes per second the store takes, for example 10M.")
]


@takes_settings()
def simulate(
    invocation: Invocation,
    *,
    port: Port = 0,
    data: Data = None,
    ak: AccessKey = None,
    sk: SecretKey = None,
    project_id: Project = None,
    speed: Speed = 1.0,
    fault: FaultRates = None,
    seed: Seed = 0,
    one_time: OneTime = True,
    url_lifetime: UrlLifetime = 86400.0,
    store_rate: StoreRate = None,
) -> int:
    """Serve a MetaStudio on this machine, to rehearse.

    Prints the environment to export and runs until Ctrl-C. With --json: one line with endpoint, ak, sk and
    project_id, once it listens.

    \b
    Examples:
      orchestrator simulate
      orchestrator simulate --port 8437 --data sim/
      orchestrator simulate --fault slow-down=0.05,reset=0.02,lost-create=0.1 --seed 7
    """
    from orchestrator.cli.rehearsal import Rehearsal, simulate_until_stopped  # noqa: PLC0415 - quick --help

    options = {
        "ak": ak,
        "sk": sk,
        "project_id": project_id,
        "speed": speed,
        "seed": seed,
        "one_time_urls": one_time,
        "url_lifetime_seconds": url_lifetime,
    }
    rehearsal = Rehearsal(port=port, data=data, faults=fault or (), store_rate=store_rate, options=options)
    return simulate_until_stopped(invocation, rehearsal)
