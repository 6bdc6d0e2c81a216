"""The `orchestrator` command: handles signals before anything slow is loaded."""

from __future__ import annotations

from typing import NoReturn

from orchestrator.cli.process import stop_on_signals


def main() -> NoReturn:
    """Run the command of the command line and exit with its code."""
    stopper = stop_on_signals()
    from orchestrator.cli.main import main as run  # noqa: PLC0415 - loading it takes longer than some commands

    run(stopper)
