"""A simulator in a thread of its own, that can go away in the middle of a run and come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.simulator import Simulator, SimulatorOptions

_PATIENCE_SECONDS = 30


class Service:
    """Listens while inside the block, always on the same port."""

    def __init__(self, options: SimulatorOptions, data: Path, port: int) -> None:
        self._options, self._data, self._port = options, data, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.simulator = self._made()

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        self._wait_for(self.simulator.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_away(self) -> None:
        """Stop listening; what is stored stays."""
        self._wait_for(self.simulator.stop())

    def come_back(self) -> None:
        """Listen again."""
        self.simulator = self._made()
        self._wait_for(self.simulator.start())

    def _made(self) -> Simulator:
        return Simulator(self._options, data=self._data, port=self._port)

    def _wait_for(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_SECONDS)
