"""The event loops that commands run on; a signal that stops ends them in order, so that files are closed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import anyio

from orchestrator.cli.stopping import StoppedBySignal
from orchestrator.engine.drain import until_signalled

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def run_async(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """Run *function* to its end on a loop for local work and return its result; raises StoppedBySignal."""
    return anyio.run(_until_stopped, function, *arguments)


def run_on_network(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """As `run_async`, on the loop for connections to the service and the store; raises ConfigurationError too."""
    from orchestrator.network.event_loop import TransferLoop  # noqa: PLC0415 - loads what local commands do not need
    from orchestrator.network.tls import chosen_tls  # noqa: PLC0415

    options: dict[str, Any] = {"loop_factory": partial(TransferLoop, chosen_tls(os.environ))}
    return anyio.run(_until_stopped, function, *arguments, backend_options=options)


async def _until_stopped(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    with until_signalled() as received:
        return await function(*arguments)
    raise StoppedBySignal(received[0])
