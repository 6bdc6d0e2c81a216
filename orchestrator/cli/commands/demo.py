"""`orchestrator demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings


@takes_settings()
def demo(
    invocation: Invocation,
    *,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", help="Where the demo keeps its files; default beside the journal."
        ),
    ] = None,
    avatars: Annotated[int, typer.Option(min=1, max=20, help="Avatars in the batch.")] = 3,
) -> int:
    """Show a complete upload, without an account.

    A simulator, sample footage, a manifest and a run in one command. Nothing leaves this machine. Run it again:
    there is nothing to do.

    \b
    Examples:
      orchestrator demo
      orchestrator demo --avatars 8 --dir /tmp/demo
    """
    from orchestrator.cli.work.demo import run_demo  # noqa: PLC0415 - keeps --help quick

    return run_demo(invocation, directory, avatars)
