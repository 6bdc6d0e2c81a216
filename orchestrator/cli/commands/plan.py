"""`orchestrator plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import (
    BatchName,
    Defaults,
    EntryPatterns,
    Invocation,
    ManifestPath,
    defaults_of,
    takes_settings,
)
from orchestrator.settings.options import (
    JOBS_OPTIONS,
    LOOK_OPTIONS,
    MANIFEST_OPTIONS,
    PLAN_OPTIONS,
    SERVICE_OPTIONS,
)


@takes_settings(
    *(SERVICE_OPTIONS, PLAN_OPTIONS, MANIFEST_OPTIONS, LOOK_OPTIONS, JOBS_OPTIONS),
    unused=("insecure_http", "log_max_size"),
)
def plan(
    invocation: Invocation,
    manifest: ManifestPath,
    *,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="RATE",
            help="Bytes per second that the link takes, for example 10M (env ORCHESTRATOR_RATE)",
            envvar="ORCHESTRATOR_RATE",
            show_envvar=False,
        ),
    ] = None,
    batch_name: BatchName = None,
    default: Defaults = None,
    entry: EntryPatterns = None,
) -> int:
    """Show what `run` would do, and why.

    Sends nothing and does not contact the service.

    \b
    Examples:
      orchestrator plan studio.yaml
      orchestrator plan studio.yaml --rate 10M    how long it takes at 10 MB/s
      orchestrator plan studio.yaml --json
    """
    from orchestrator.api.checking import ManifestRequest  # noqa: PLC0415 - keeps --help quick
    from orchestrator.cli.work.plan import plan_manifest  # noqa: PLC0415

    request = ManifestRequest(
        path=manifest, batch_name=batch_name, defaults=defaults_of(default), patterns=entry or ()
    )
    return plan_manifest(invocation, request, rate=rate)
