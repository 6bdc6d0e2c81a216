"""PUTs on the wire: one request, the watchdog that ends it when nothing moves, its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self

import aiohttp
import anyio
from yarl import URL

from orchestrator.domain.errors import InterruptedTransferError, OrchestratorError
from orchestrator.network.errors import (
    CONNECTION_ERRORS,
    BrokenConnectionError,
    TimeoutCode,
    connection_error,
)
from orchestrator.network.session import forget_addresses
from orchestrator.transfer.answer import Answer, read_answer
from orchestrator.transfer.payload import SegmentPayload, WithheldPayload

#: Looks per idle timeout: how late a cut may come, at most one look.
_LOOKS = 8


class IdleWatchdog:
    """Cancels what runs inside when *activity* has not changed for *idle_timeout* seconds.

    `activity` returns a mark that differs whenever bytes have moved, None while nothing is expected to move.

    The watch lasts from `with` to its end, or to `stop`.
    """

    def __init__(self, activity: Callable[[], object], idle_timeout: float) -> None:
        self._activity = activity
        self._idle_timeout = idle_timeout
        self._scope = anyio.CancelScope()
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._mark: object = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_bitten(self) -> bool:
        """True when the watch ended what ran inside."""
        return self._scope.cancelled_caught

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._scope.__enter__()
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """End the watch; the cancellation it caused stops here."""
        self.stop()
        return bool(self._scope.__exit__(kind, error, traceback))

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        mark = self._activity()
        if mark is None or mark != self._mark:
            self._mark, self._moved_at = mark, now
        elif now - self._moved_at >= self._idle_timeout:
            self._scope.cancel()
            return
        self._timer = self._loop.call_later(self._idle_timeout / _LOOKS, self._look)


PROBE_TIMEOUT: Final = 10.0
#: What aiohttp adds by itself; a store needs none of them.
_UNWANTED_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent")


class BodyInterruptedError(InterruptedTransferError):
    """The connection broke under the body: the store may have refused it, and its answer got lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How PUTs to one URL are made; `host` is the name for it in messages."""

    session: aiohttp.ClientSession
    target: URL = field(repr=False)
    host: str
    content_type: str
    idle_timeout: float

    def to(self, target: URL) -> Exchange:
        """The same exchange with another URL of the same host."""
        return replace(self, target=target)

    async def send(self, payload: SegmentPayload) -> Answer:
        """PUT *payload* and return the answer, whatever it says.

        Raises NotSentError, InterruptedTransferError (BodyInterruptedError when `ask` may know more),
        ConfigurationError for an untrusted certificate and a proxy that refuses, or what kept the payload from
        being read.
        """
        try:
            answer = await self._watched(payload)
            if payload.failure is None and answer.status < 300:
                await payload.check_source()
        except CONNECTION_ERRORS as error:
            forget_addresses(self.session)
            raise payload.failure or self._error_of(error, payload) from None
        finally:
            payload.abandon()
        if payload.failure is not None:
            raise payload.failure from None
        return answer

    async def ask(self, length: int) -> Answer | None:
        """The store's refusal of a PUT of *length* bytes, None when it does not refuse or say.

        Not one byte of the body is sent, so nothing can be stored: `Expect: 100-continue` lets the store
        answer the headers alone. A store which does not know it waits for the body, hence the time limit.
        """
        with anyio.move_on_after(min(self.idle_timeout, PROBE_TIMEOUT)):
            try:
                async with self._put(WithheldPayload(length), length, is_expecting=True) as response:
                    answer = await read_answer(response, self.idle_timeout)
            except CONNECTION_ERRORS:
                return None
            return answer if answer.status >= 400 and answer.status != 417 else None
        return None

    async def _watched(self, payload: SegmentPayload) -> Answer:
        with IdleWatchdog(payload.activity, self.idle_timeout) as watchdog:
            async with self._put(payload, payload.length) as response:
                watchdog.stop()
                return await read_answer(response, self.idle_timeout)
        forget_addresses(self.session)
        waited = f"for {self.idle_timeout:g} s"
        is_body_sent = payload.is_on_the_wire
        conduct = f"did not answer {waited} after the last byte" if is_body_sent else f"took no byte {waited}"
        error = InterruptedTransferError(f"{self.host} {conduct}", code=TimeoutCode.IDLE)
        error.is_body_sent = is_body_sent
        raise error

    def _put(
        self, payload: aiohttp.Payload, length: int, *, is_expecting: bool = False
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.session.put(
            self.target,
            data=payload,
            headers={"Content-Type": self.content_type, "Content-Length": str(length)},
            skip_auto_headers=_UNWANTED_HEADERS,
            allow_redirects=False,
            expect100=is_expecting,
        )

    def _error_of(self, error: Exception, payload: SegmentPayload) -> OrchestratorError:
        failure = connection_error(error, self.host)
        is_body_sent = payload.is_handed_over
        if isinstance(failure, BrokenConnectionError) and not is_body_sent:
            return BodyInterruptedError(failure.message)
        if isinstance(failure, InterruptedTransferError):
            failure.is_body_sent = is_body_sent
        return failure
