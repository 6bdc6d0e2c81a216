"""A process in which one simulator at a time serves a crash round, and which survives the kills.

It reads one JSON command per line and answers each with one line; tests/crash/harness.py speaks to it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from orchestrator.simulator import Simulator, SimulatorOptions, parse_world
from tests.crash.network import BEGUN_HEADER
from tests.crash.others import Others


def _options(document: dict[str, Any]) -> SimulatorOptions:
    return SimulatorOptions(**{**document, "world": parse_world(document["world"])})


class ReachableSimulator(Simulator):
    """A simulator that the hosts of a network reach at *address*.

    The simulator itself refuses such an address: outside of a network made for it, anyone could call.
    """

    def __init__(self, *arguments: Any, address: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._host = address


class _Public(ReachableSimulator):
    """Records when each request of which host arrived."""

    def __init__(self, *arguments: Any, address: str, **named: Any) -> None:
        super().__init__(*arguments, address=address, **named)
        #: When, when it was begun, the host's address, what, and the job's id, or the name of the avatar that is to
        #: have one.
        self.arrived: list[tuple[float, float, str, str, str]] = []

    async def _prepare(self) -> web.AppRunner:
        runner = await super()._prepare()
        runner.app.middlewares.append(self._write_down)
        return runner

    @web.middleware
    async def _write_down(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        at, found = time.time(), request.match_info
        about = found.get("job_id") or found.get("key", "").removeprefix("p/").partition("_")[0]
        if request.method == "POST" and not about:
            about = json.loads(await request.read()).get("name", "")
        begun_at = float(request.headers[BEGUN_HEADER])
        self.arrived.append((at, begun_at, str(request.remote), f"{request.method} {request.path}", about))
        return await handler(request)


class Stage:
    """The simulator of the current round, with a clock that can be put forward."""

    def __init__(self) -> None:
        """Start with nothing on."""
        self._simulator: Simulator | None = None
        self._others: Others | None = None
        self._passed_seconds = 0.0
        self._address: str | None = None

    def clock(self) -> float:
        """The time here; the driver is told the same offset."""
        return time.time() + self._passed_seconds

    async def start(
        self,
        *,
        data: str,
        options: dict[str, Any],
        scripts: dict[str, list[str | None]],
        batch_name: str,
        names: list[str],
        has_twins: bool,
        address: str | None = None,
    ) -> Any:
        """Serve a new simulator on which others have jobs; answers where, and with what to prove who calls.

        It is at *address*, which must be this process's, or where this machine alone reaches it.
        """
        self._passed_seconds = 0.0
        self._address = address
        answer = await self._serve(Path(data), _options(options), 0, scripts)
        self._others = Others(self._current, batch_name=batch_name, names=names)
        await self._others.arrive()
        if has_twins:
            await self._others.make_twins()
        return answer

    async def restart(self, *, options: dict[str, Any]) -> Any:
        """Stop the simulator and serve its state again at the same place, with other options."""
        before = self._current
        port = int(before.endpoint.rpartition(":")[2])
        stored = before.stats.stored
        others = self._others
        await before.stop()
        answer = await self._serve(before.folder, _options(options), port, {})
        self._current.stats.stored = stored
        if others is not None:
            others.move(self._current)
        return answer

    async def meanwhile(self) -> Any:
        """A person makes jobs in the console."""
        if self._others is not None:
            await self._others.make_some_meanwhile()

    async def advance(self, *, seconds: float) -> Any:
        """Put the clock forward."""
        self._passed_seconds += seconds
        return self._passed_seconds

    async def inspect(self) -> Any:
        """Every job of ours there ever was, the bytes of each body stored by target, requests by operation, and what
        others suffered.
        """
        theirs = self._others.job_ids if self._others is not None else []
        return {
            "jobs": [asdict(job) for job in self._current.all_jobs if job.job_id not in theirs],
            "live": [job.job_id for job in self._current.jobs],
            "stored": self._current.stats.stored,
            "faults": self._current.faults.counts,
            "requests": self._current.stats.requests,
            "arrived": self._current.arrived if isinstance(self._current, _Public) else [],
            "touched": self._others.touched() if self._others is not None else [],
        }

    async def stop(self) -> Any:
        """End the round."""
        if self._simulator is not None:
            await self._simulator.stop()
            self._simulator = None

    @property
    def _current(self) -> Simulator:
        if self._simulator is None:
            raise RuntimeError("no round has begun")
        return self._simulator

    async def _serve(
        self, data: Path, options: SimulatorOptions, port: int, scripts: dict[str, list[str | None]]
    ) -> dict[str, str]:
        kind = Simulator if self._address is None else partial(_Public, address=self._address)
        self._simulator = kind(options, data=data, port=port, clock=self.clock)
        for operation, faults in scripts.items():
            self._simulator.faults.script(operation, faults)
        await self._simulator.start()
        return {
            "endpoint": self._simulator.endpoint,
            "ak": options.ak,
            "sk": options.sk,
            "project_id": options.project_id,
        }


async def main() -> None:
    """Obey commands until standard input ends."""
    stage = Stage()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        answer = await getattr(stage, command.pop("do"))(**command)
        print(json.dumps(answer, default=str), flush=True)
    await stage.stop()


if __name__ == "__main__":
    asyncio.run(main())
