"""The fixtures of the command line, since a batch is the same batch by either way."""

from tests.cli.conftest import batch, cli, home, simulator, simulator_options, start_program

__all__ = ["batch", "cli", "home", "simulator", "simulator_options", "start_program"]
