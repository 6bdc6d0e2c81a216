"""`orchestrator work` as a process of its own, with a shorter hold than users may set: `HOLD [POINT]`.

It stops itself, as by SIGSTOP, the first time an entry is at POINT: what happens then depends on no timing.
HOST_VARIABLE names the host that it is on, BLIND_VARIABLE a folder of which that host can open no file.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from typing import Any

from orchestrator.api import session
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.process import stop_on_signals
from orchestrator.cli.work import work
from orchestrator.domain.errors import OrchestratorError, exit_code_of
from orchestrator.engine.events import Event, EventBus, StepReached

HOST_VARIABLE, BLIND_VARIABLE = "TEST_FLEET_HOST", "TEST_FLEET_BLIND"


class StopsItself:
    """A subscriber that is frozen at a point, and only once."""

    event_types = frozenset({StepReached})

    def __init__(self, point: str) -> None:
        self._point: str | None = point

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepReached) and event.point == self._point:
            self._point = None
            os.kill(os.getpid(), signal.SIGSTOP)


def be_blind_to(folder: str) -> None:
    """Answer as a share does whose server has forgotten it."""
    really_open = os.open

    def open_file(path: Any, *how: Any, **more: Any) -> int:
        if isinstance(path, str) and path.startswith(folder):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return really_open(path, *how, **more)

    os.open = open_file


def main(hold_seconds: float, points: list[str]) -> int:
    """Work until a signal."""

    def bus(*subscribers: Any) -> EventBus:
        return EventBus(*subscribers, *map(StopsItself, points))

    host, folder = os.environ.get(HOST_VARIABLE), os.environ.get(BLIND_VARIABLE)
    if host:
        socket.gethostname = lambda: host
    if folder:
        be_blind_to(folder)
    session.EventBus = bus  # type: ignore[misc,assignment]  # the command makes its own, and takes no subscriber
    stop_on_signals()
    output = Output(sys.stdout, sys.stderr)
    invocation = Invocation(output=output, flags={"jobs": "2"}, config=None)
    try:
        return int(work.work_on_queue(invocation, None, hold_seconds=hold_seconds, is_until_done=False))
    except OrchestratorError as error:
        output.print_error(error)
        return exit_code_of(error)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
