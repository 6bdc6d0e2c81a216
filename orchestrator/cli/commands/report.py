"""`orchestrator report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.invocation import BatchArgument, Invocation, takes_settings
from orchestrator.settings.options import SERVICE_OPTIONS


@takes_settings(SERVICE_OPTIONS)
def report(
    invocation: Invocation,
    batch: BatchArgument,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the page to FILE, readable by its owner only; replaces what it held",
            show_default=False,
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show the avatars (needs the extra preflight)")
    ] = True,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the page and keep it up to date until stopped")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="With --live: the port; 0 picks a free one")
    ] = 8787,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="With --live: the address to listen on; one that others reach needs the token in the URL",
        ),
    ] = "127.0.0.1",
) -> int:
    """Write a page about a batch, or serve it while a run works.

    What needs you comes first, with pictures and commands; then every avatar, and the hours of its runs. One
    self-contained file: it opens from a mail or a disk and fetches nothing. Works from the journal alone, also
    during a run and after one that was killed. ID cards are never in it. With --live the page is served instead
    and follows runs and reviews; stopping it, or starting it again, changes nothing for the run.

    \b
    Examples:
      orchestrator report studio -o report.html
      orchestrator report studio -o report.html --no-pictures
      orchestrator report studio --live           until Ctrl-C
      orchestrator report studio --live -o last.html --host 0.0.0.0
    """
    from orchestrator.cli.work.report import PageRequest, write_report  # noqa: PLC0415 - keeps --help quick

    request = PageRequest(file=file, with_pictures=pictures)
    if not live:
        return write_report(invocation, batch, request)
    from orchestrator.cli.work.report_live import serve_report  # noqa: PLC0415 - loads the server

    return serve_report(invocation, batch, request, host=host, port=port)
