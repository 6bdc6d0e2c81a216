"""PUTs on the wire: one request, its watchdog, its answer."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Final

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
from orchestrator.transfer.watchdog import IdleWatchdog

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
        raise self._idle_error(payload)

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

    def _idle_error(self, payload: SegmentPayload) -> InterruptedTransferError:
        waited = f"for {self.idle_timeout:g} s"
        is_body_sent = payload.is_on_the_wire
        conduct = f"did not answer {waited} after the last byte" if is_body_sent else f"took no byte {waited}"
        error = InterruptedTransferError(f"{self.host} {conduct}", code=TimeoutCode.IDLE)
        error.is_body_sent = is_body_sent
        return error

    def _error_of(self, error: Exception, payload: SegmentPayload) -> OrchestratorError:
        failure = connection_error(error, self.host)
        is_body_sent = payload.is_handed_over
        if isinstance(failure, BrokenConnectionError) and not is_body_sent:
            return BodyInterruptedError(failure.message)
        if isinstance(failure, InterruptedTransferError):
            failure.is_body_sent = is_body_sent
        return failure
