"""`orchestrator doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import Defaults, Invocation, defaults_of, takes_settings
from orchestrator.settings.options import RUN_OPTIONS, SERVICE_OPTIONS

#: Of a run's options those that decide how many files are open at once.
_WIDTH_OPTIONS = tuple(option for option in RUN_OPTIONS if option.name in {"jobs", "parallel"})


@takes_settings(SERVICE_OPTIONS, _WIDTH_OPTIONS, unused=("progress", "log_max_size"))
def doctor(
    invocation: Invocation,
    manifest: Annotated[
        Path | None,
        typer.Argument(metavar="MANIFEST", help="Also check that its files can be read.", show_default=False),
    ] = None,
    *,
    default: Defaults = None,
) -> int:
    """Check what a run needs, and show how to fix it.

    Credentials, project, endpoint, service (one read, never a write), clock, TLS, store, journal, disks,
    open files, and the files of MANIFEST. Changes nothing.
    Exit code 0 when a run can start, 4 when something must be fixed, 5 when time may fix it.

    \b
    Examples:
      orchestrator doctor
      orchestrator doctor studio.yaml
      orchestrator doctor --json
    """
    from orchestrator.cli.work.doctor import run_checks  # noqa: PLC0415 - keeps --help quick

    return run_checks(invocation, manifest, defaults_of(default))
