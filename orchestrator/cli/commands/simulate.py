"""`orchestrator simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings

Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks one.")]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Keep jobs and objects here across restarts; without it they are deleted at the end.",
    ),
]
AccessKey = Annotated[str | None, typer.Option(metavar="AK", help="The access key it accepts.")]
SecretKey = Annotated[str | None, typer.Option(metavar="SK", help="The secret key it accepts.")]
Project = Annotated[str | None, typer.Option(metavar="ID", help="The project id it accepts.")]
Speed = Annotated[float, typer.Option(help="Seconds of review and training per real second.")]
FaultRates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=RATE,...",
        help="Make a share of requests fail, for example slow-down=0.05,lost-create=0.02,intercepted=0.01;"
        " may be repeated, and a wrong name lists the known ones.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed that chooses which requests fail.")]
WorldValues = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE,...",
        help="Choose what MetaStudio's documents leave open, for example list-tags=hidden,etag=opaque; may be"
        " repeated, and a wrong name lists the known ones.",
    ),
]
OneTime = Annotated[
    bool | None,
    typer.Option(
        "--one-time/--overwrite",
        help="Whether an upload URL works once, or the last upload wins: --world put-again=refused|overwrite.",
    ),
]
UrlLifetime = Annotated[
    float, typer.Option(metavar="SECONDS", min=0.001, help="Seconds until upload URLs expire.")
]
StoreRate = Annotated[
    str | None, typer.Option(metavar="RATE", help="Bytes per second the store takes, for example 10M.")
]
ObjectStore = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Store the objects in this S3-compatible server; upload faults then do not apply."
    ),
]
Bucket = Annotated[str | None, typer.Option(metavar="NAME", help="Its bucket, which must exist.")]
StoreAccessKey = Annotated[
    str | None,
    typer.Option(
        metavar="AK",
        help="Its access key (env AWS_ACCESS_KEY_ID)",
        envvar="AWS_ACCESS_KEY_ID",
        show_envvar=False,
    ),
]
StoreSecretKey = Annotated[
    str | None,
    typer.Option(
        metavar="SK",
        help="Its secret key (env AWS_SECRET_ACCESS_KEY)",
        envvar="AWS_SECRET_ACCESS_KEY",
        show_envvar=False,
    ),
]
StoreRegion = Annotated[str, typer.Option(metavar="NAME", help="Its region.")]
Signature = Annotated[
    str,
    typer.Option(metavar="v2|v4", help="How its upload URLs are signed; MetaStudio uses v2."),
]


@takes_settings(unused=("state", "progress", "log_max_size"))
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
    world: WorldValues = None,
    one_time: OneTime = None,
    url_lifetime: UrlLifetime = 86400.0,
    store_rate: StoreRate = None,
    object_store: ObjectStore = None,
    bucket: Bucket = None,
    object_store_ak: StoreAccessKey = None,
    object_store_sk: StoreSecretKey = None,
    object_store_region: StoreRegion = "us-east-1",
    signature: Signature = "v4",
) -> int:
    """Serve a simulated MetaStudio on this machine.

    Prints the environment to export and runs until Ctrl-C. With --json: one line with endpoint, ak, sk and
    project_id, once it listens.

    \b
    Examples:
      orchestrator simulate
      orchestrator simulate --port 8437 --data sim/
      orchestrator simulate --fault slow-down=0.05,lost-create=0.1 --seed 7
      orchestrator simulate --world list-tags=hidden --fault lost-confirm=0.3
      orchestrator simulate --object-store http://127.0.0.1:8333 --bucket footage
    """
    from orchestrator.cli.work.simulate import SimulateRequest, simulate_until_stopped  # noqa: PLC0415 - quick --help

    put_again = () if one_time is None else (f"put-again={'refused' if one_time else 'overwrite'}",)
    request = SimulateRequest(
        port=port,
        data=data,
        faults=fault or (),
        world=[*(world or ()), *put_again],
        store_rate=store_rate,
        options={
            "ak": ak,
            "sk": sk,
            "project_id": project_id,
            "speed": speed,
            "seed": seed,
            "url_lifetime_seconds": url_lifetime,
        },
        object_store={
            "url": object_store or "",
            "bucket": bucket or "",
            "ak": object_store_ak or "",
            "sk": object_store_sk or "",
            "region": object_store_region,
            "signature": signature,
        },
    )
    return simulate_until_stopped(invocation, request)
