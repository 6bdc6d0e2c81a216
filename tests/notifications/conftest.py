"""The fixtures of the command line, and a chat that messages are sent to."""

from collections.abc import Iterator

import pytest

from tests.cli.conftest import batch, cli, home, simulator, simulator_options, start_program
from tests.notifications.room import Room

__all__ = ["batch", "cli", "home", "room", "simulator", "simulator_options", "start_program"]


@pytest.fixture
def room() -> Iterator[Room]:
    """One that works."""
    opened = Room()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()
