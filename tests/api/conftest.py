"""The fixtures of the command line, since a batch is the same batch by either way, and who is notified."""

from collections.abc import Iterator

import pytest

from tests.api.room import Room
from tests.cli.conftest import batch, cli, home, simulator, simulator_options, start_program

__all__ = ["batch", "cli", "home", "room", "simulator", "simulator_options", "start_program"]


@pytest.fixture
def room() -> Iterator[Room]:
    """One that works."""
    opened = Room()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()
