"""`orchestrator validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import (
    BatchName,
    Defaults,
    Invocation,
    ManifestPath,
    defaults_of,
    takes_settings,
)
from orchestrator.settings.options import JOBS_OPTIONS, LOOK_OPTIONS, MANIFEST_OPTIONS


@takes_settings(MANIFEST_OPTIONS, LOOK_OPTIONS, JOBS_OPTIONS, unused=("log_max_size",))
def validate(
    invocation: Invocation,
    manifest: ManifestPath,
    *,
    batch_name: BatchName = None,
    default: Defaults = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="With --look: write a page with pictures, sound and findings of each film",
        ),
    ] = None,
) -> int:
    """Show everything that is wrong with a manifest.

    Checks the files it names as well; sends nothing. Each problem is a line `FILE:LINE:COLUMN: error: ENTRY:
    FIELD: what is wrong`; warnings do not stop a run. Exit code 0 when the manifest can be run, 3 when not.

    \b
    Examples:
      orchestrator validate studio.yaml
      orchestrator validate today.csv --default contact=ops@example.com
      orchestrator validate studio.yaml --no-media-check --json
      orchestrator validate studio.yaml --look quick      films as well
      orchestrator validate studio.yaml --look quick --report preflight.html
    """
    from orchestrator.api.checking import ManifestRequest  # noqa: PLC0415 - keeps --help quick
    from orchestrator.cli.work.validate import validate_manifest  # noqa: PLC0415

    request = ManifestRequest(path=manifest, batch_name=batch_name, defaults=defaults_of(default))
    return validate_manifest(invocation, request, report)
