"""The simulator in a process of its own, which tells when each call came: `python -m benchmark.fleet.service`.

The first line is what `orchestrator simulate --json` prints, with the process's id; each further one is a call, as
its operation and the monotonic time, which is the same for all processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.simulator import Simulator, SimulatorOptions

#: What reaches the store and not the service.
_STORE = frozenset({"put", "get", "head"})
#: What is asked with GET: rates of calls go by the method, and a command is a POST whatever it says.
_READS = frozenset({"list", "show", "projects"})


class _Told(Counter[str]):
    """The counts of requests, each told as it is counted."""

    def __setitem__(self, operation: str, count: int) -> None:
        super().__setitem__(operation, count)
        if operation not in _STORE:
            print(json.dumps([operation, time.monotonic()]), flush=True)


@dataclass
class Calls:
    """When calls came to a service, told by its lines."""

    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)

    def listen(self, lines: Iterator[str]) -> None:
        """Take the service's lines until it ends."""
        for line in lines:
            operation, at = json.loads(line)
            (self.reads if operation in _READS else self.writes).append(at)


async def _serve() -> None:
    options = SimulatorOptions()
    simulator = Simulator(options)
    simulator.stats.requests = _Told()
    await simulator.start()
    try:
        place = {"endpoint": simulator.endpoint, "project_id": options.project_id, "pid": os.getpid()}
        print(json.dumps({**place, "ak": options.ak, "sk": options.sk}), flush=True)
        await asyncio.Event().wait()
    finally:
        await simulator.stop()


if __name__ == "__main__":
    asyncio.run(_serve())
