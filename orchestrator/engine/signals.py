"""What SIGINT and SIGTERM do: the first drains, the second stops at once."""

from __future__ import annotations

import signal

import anyio

from orchestrator.engine.drain import Drain, Sleep


class StopSignals:
    """Listens while a run works; `received` is the first signal that came."""

    def __init__(self, drain: Drain, grace_seconds: float, sleep: Sleep) -> None:
        """Give what runs *grace_seconds* to finish after the first signal."""
        self._drain = drain
        self._grace_seconds = grace_seconds
        self._sleep = sleep
        self.received: signal.Signals | None = None

    async def listen(self, run_scope: anyio.CancelScope) -> None:
        """Drain on the first signal, cancel *run_scope* on the second or when the grace is over."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as group:
                async for received in signals:
                    if self.received is not None:
                        run_scope.cancel()
                        continue
                    self.received = received
                    self._drain.begin(
                        f"{received.name}: finishing what is on its way, at most {self._grace_seconds:.0f} s; "
                        "once more to stop at once"
                    )
                    group.start_soon(self._cancel_after_grace, run_scope)

    async def _cancel_after_grace(self, run_scope: anyio.CancelScope) -> None:
        await self._sleep(self._grace_seconds)
        run_scope.cancel()
