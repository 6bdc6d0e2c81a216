"""PUTs on the wire; the only place that knows aiohttp's exceptions.

They are never chained: the text of several of them holds the URL.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import aiohttp
import anyio
from yarl import URL

from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
)
from orchestrator.transfer.answer import Answer, read_answer
from orchestrator.transfer.payload import SegmentPayload, WithheldPayload
from orchestrator.transfer.watchdog import IdleWatchdog

PROBE_TIMEOUT: Final = 10.0
#: What aiohttp adds by itself; a store needs none of them.
_UNWANTED_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent")


class TimeoutCode(StrEnum):
    """The codes of errors that mean: the other side does not keep up."""

    IDLE = "IdleTimeout"
    CONNECT = "ConnectTimeout"


_UNSENT_SENTENCES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy for {host}: {reason}"),
    (aiohttp.ClientConnectorDNSError, "the name {host} cannot be resolved"),
    (aiohttp.ClientConnectorSSLError, "no TLS connection to {host}: {reason}"),
    (aiohttp.ClientConnectorError, "no connection to {host}: {reason}"),
    (aiohttp.ConnectionTimeoutError, "no connection to {host} within the time allowed"),
)


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
        except (aiohttp.ClientError, OSError) as error:
            self._forget_addresses()
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
            except (aiohttp.ClientError, OSError):
                return None
            return answer if answer.status >= 400 and answer.status != 417 else None
        return None

    async def _watched(self, payload: SegmentPayload) -> Answer:
        with IdleWatchdog(payload.activity, self.idle_timeout) as watchdog:
            async with self._put(payload, payload.length) as response:
                watchdog.stop()
                return await read_answer(response, self.idle_timeout)
        self._forget_addresses()
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

    def _forget_addresses(self) -> None:
        """Have names resolved again: a host that moved would be looked for at its old address for minutes."""
        if isinstance(self.session.connector, aiohttp.TCPConnector):
            self.session.connector.clear_dns_cache()

    def _idle_error(self, payload: SegmentPayload) -> InterruptedTransferError:
        waited = f"for {self.idle_timeout:g} s"
        if payload.is_on_the_wire:
            sentence = f"{self.host} did not answer {waited} after the last byte"
            return _interrupted(sentence, is_body_sent=True, code=TimeoutCode.IDLE)
        return _interrupted(f"{self.host} took no byte {waited}", is_body_sent=False, code=TimeoutCode.IDLE)

    def _error_of(self, error: Exception, payload: SegmentPayload) -> OrchestratorError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return _untrusted(self.host, error)
        for kind, sentence in _UNSENT_SENTENCES:
            if isinstance(error, kind):
                code = TimeoutCode.CONNECT if isinstance(error, TimeoutError) else None
                return NotSentError(sentence.format(host=self.host, reason=_reason(error)), code=code)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return _proxy_refusal(error.status)
        return self._break_of(error, is_body_sent=payload.is_handed_over)

    def _break_of(self, error: Exception, *, is_body_sent: bool) -> InterruptedTransferError:
        if isinstance(error, aiohttp.ServerDisconnectedError):
            sentence = f"{self.host} closed the connection without an answer"
        elif isinstance(error, aiohttp.ClientResponseError):
            sentence = f"{self.host} answered something that is not HTTP"
        elif is_body_sent:
            sentence = f"the connection to {self.host} broke before the answer: {_reason(error)}"
        else:
            return BodyInterruptedError(f"the connection to {self.host} broke: {_reason(error)}")
        return _interrupted(sentence, is_body_sent=is_body_sent)


def _interrupted(
    sentence: str, *, is_body_sent: bool, code: TimeoutCode | None = None
) -> InterruptedTransferError:
    error = InterruptedTransferError(sentence, code=code)
    error.is_body_sent = is_body_sent
    return error


def _untrusted(host: str, error: aiohttp.ClientConnectorCertificateError) -> ConfigurationError:
    reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit the name"
    return ConfigurationError(
        f"the TLS certificate of {host} is not trusted: {reason}",
        hint="check the machine's clock and CA certificates (SSL_CERT_FILE), and any proxy that opens TLS",
    )


def _proxy_refusal(status: int) -> OrchestratorError:
    if status >= 500:
        return NotSentError(f"the proxy answered {status}", status=status)
    return ConfigurationError(
        f"the proxy refuses connections to the store (HTTP {status})",
        status=status,
        hint="check HTTPS_PROXY, its user and password, and NO_PROXY",
    )


def _reason(error: Exception) -> str:
    """Why, in the operating system's words; the text of aiohttp's own errors may hold the URL."""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return error.os_error.strerror or "the handshake failed"
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else "connection lost"
