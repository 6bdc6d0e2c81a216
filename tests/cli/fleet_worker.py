"""`orchestrator work` as a process of its own, with a shorter hold than users may set: `HOLD [POINT]`.

It stops itself, as by SIGSTOP, the first time an entry is at POINT: what happens then depends on no timing.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from orchestrator.cli.actions import work
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.process import stop_on_signals
from orchestrator.domain.errors import OrchestratorError, exit_code_of
from orchestrator.engine.events import Event, EventBus, StepReached


class StopsItself:
    """A subscriber that is frozen at a point, and only once."""

    hears = frozenset({StepReached})

    def __init__(self, point: str) -> None:
        self._point: str | None = point

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepReached) and event.point == self._point:
            self._point = None
            os.kill(os.getpid(), signal.SIGSTOP)


def main(hold_seconds: float, points: list[str]) -> int:
    """Work until a signal."""

    def bus(*subscribers: Any) -> EventBus:
        return EventBus(*subscribers, *map(StopsItself, points))

    work.EventBus = bus  # type: ignore[misc,assignment]  # the command makes its own, and takes no subscriber
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
