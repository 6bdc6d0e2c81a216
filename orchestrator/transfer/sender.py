"""One attempt to send one segment to one presigned URL, ending in a receipt or in an error that says what to do.

It consists of the request itself, the watchdog that ends it when no bytes move, and its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self

import aiohttp
import anyio
from yarl import URL

from orchestrator.domain.assets import Asset, Segment
from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
)
from orchestrator.domain.evidence import Receipt
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.retry import retry_after_seconds
from orchestrator.network.errors import (
    CONNECTION_ERRORS,
    BrokenConnectionError,
    TimeoutCode,
    connection_error,
)
from orchestrator.network.http_session import forget_addresses
from orchestrator.transfer.answer import Answer, check_mark, error_of, is_success, read_answer, receipt_of
from orchestrator.transfer.hashing import HashPool, Unhashed, best_md5
from orchestrator.transfer.payload import OnBytes, Pace, Reader, SegmentPayload, WithheldPayload
from orchestrator.transfer.reader import (
    PIECE_BYTES,
    SMALL_BYTES,
    Buffers,
    SegmentReader,
    SmallSegmentReader,
    Source,
    check_unchanged,
)

#: Checks per idle timeout: the watchdog may be late by at most one interval between checks.
_CHECKS_PER_TIMEOUT = 8
#: How long a store may take to refuse a body that was not sent.
PROBE_TIMEOUT: Final = 10.0
#: Headers that aiohttp adds by itself; a store needs none of them.
_UNWANTED_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent")


class SegmentSender:
    """Sends segments over a shared session; its only state between calls is buffers and the warnings given.

    Files are read in the threads of *readers*, one per core; *clock* is in epoch seconds. *is_verifying* decides
    whether MD5s are computed and compared. *on_warning* is called once for each distinct warning.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        readers: ThreadPoolExecutor,
        idle_timeout: float,
        is_verifying: bool,
        is_insecure_http_allowed: bool = False,
        clock: Callable[[], float] = time.time,
        on_warning: Callable[[str], None],
    ) -> None:
        self._session = session
        self._readers = readers
        self._idle_timeout = idle_timeout
        self._is_verifying = is_verifying
        self._is_insecure_http_allowed = is_insecure_http_allowed
        self._clock = clock
        self._on_warning = on_warning
        self._buffers = Buffers(PIECE_BYTES)
        md5 = best_md5()
        self._hash_pool = HashPool(readers, md5)
        self._small = SmallSegmentReader(readers, md5 if is_verifying else None)
        self._warnings: set[str] = set()

    async def put(
        self,
        asset: Asset,
        segment: Segment,
        url: PresignedUrl,
        on_bytes: OnBytes,
        pace: Pace | None = None,
    ) -> Receipt:
        """PUT *segment* to *url*, as fast as *pace* allows, and return the receipt.

        Raises NotSentError, InterruptedTransferError, UnmarkedAnswerError, ThrottledError, RetryableError,
        ETagMismatchError, UrlExpiredError, RefusedUploadError, RequestRejectedError, SourceChangedError, or
        ConfigurationError for problems of every segment: no https, an untrusted certificate, a proxy that refuses.
        """
        exchange = self._exchange(asset, url)
        try:
            answer, payload = await self._send(exchange, asset, segment, on_bytes, pace)
            redirected = _redirected(answer, exchange.target)
            if redirected is not None:
                exchange = exchange.to(redirected)
                answer, payload = await self._send(exchange, asset, segment, on_bytes, pace)
        except BodyInterruptedError as error:
            refusal = await exchange.probe_refusal(segment.length)
            raise (self._error_of(refusal, url, is_body_sent=False) if refusal else error) from None
        if not is_success(answer):
            raise self._error_of(answer, url, is_body_sent=payload.is_handed_over)
        if not payload.is_handed_over:
            raise InterruptedTransferError(f"{url.host} claims to have the segment before it was sent")
        check_mark(answer, payload.md5)
        return receipt_of(answer, payload.md5, self._warn_once)

    async def digest(self, asset: Asset, segment: Segment) -> str:
        """Return the hex MD5 of *segment* in the current file; raise SourceChangedError when the file changed."""
        hashed = self._hash_pool.join(Source(asset))
        reader = SegmentReader(segment, hashed, self._readers, self._buffers)
        try:
            while await reader.next_span():
                pass
            return hashed.md5
        finally:
            reader.close()

    async def check_unchanged(self, assets: Iterable[Asset]) -> None:
        """Raise SourceChangedError unless every file of *assets* is still the one that was planned."""
        await asyncio.get_running_loop().run_in_executor(self._readers, check_unchanged, assets)

    async def _send(
        self, exchange: Exchange, asset: Asset, segment: Segment, on_bytes: OnBytes, pace: Pace | None
    ) -> tuple[Answer, SegmentPayload]:
        reader: Reader
        if segment.length < SMALL_BYTES:
            reader = await self._small.read(asset, segment)
        else:
            source = Source(asset)
            preparation = (
                self._hash_pool.join(source) if self._is_verifying else Unhashed(source, self._readers)
            )
            reader = SegmentReader(segment, preparation, self._readers, self._buffers)
        payload = SegmentPayload(reader, segment.length, on_bytes=on_bytes, pace=pace)
        return await exchange.send(payload), payload

    def _exchange(self, asset: Asset, url: PresignedUrl) -> Exchange:
        try:
            target = URL(url.reveal(), encoded=True)
        except ValueError:
            raise RequestRejectedError(f"the upload URL for {url.host} cannot be used") from None
        if not url.is_private(is_insecure_http_allowed=self._is_insecure_http_allowed):
            raise ConfigurationError(
                f"the upload URL for {url.host} is not https",
                hint="--insecure-http allows it, for a test service only: files and URLs travel readable",
            )
        return Exchange(
            session=self._session,
            target=target,
            host=url.host,
            content_type=asset.kind.content_type,
            idle_timeout=self._idle_timeout,
        )

    def _error_of(self, answer: Answer, url: PresignedUrl, *, is_body_sent: bool) -> OrchestratorError:
        now = self._clock()
        return error_of(
            answer,
            is_url_past=url.expires_at is not None and url.expires_at <= now,
            is_body_sent=is_body_sent,
            retry_after=retry_after_seconds(answer.retry_after, now),
        )

    def _warn_once(self, warning: str) -> None:
        if warning not in self._warnings:
            self._warnings.add(warning)
            self._on_warning(warning)


def _redirected(answer: Answer, target: URL) -> URL | None:
    """Return the URL of a redirect to follow once, None without one; raise RequestRejectedError for another host."""
    if answer.location is None or not 300 <= answer.status < 400:
        return None
    try:
        location = target.join(URL(answer.location, encoded=True))
        is_same_host = location.origin() == target.origin()
    except ValueError:
        return None
    if not is_same_host:
        raise RequestRejectedError(
            f"{target.host} redirects the upload to another host, {location.host}, which is not followed",
            status=answer.status,
            request_id=answer.request_id,
        )
    return location if answer.status in {307, 308} else None


class BodyInterruptedError(InterruptedTransferError):
    """The connection broke while the body was sent: the store may have refused it in an answer that was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The PUTs to one URL; `host` is its name in messages."""

    session: aiohttp.ClientSession
    target: URL = field(repr=False)
    host: str
    content_type: str
    idle_timeout: float

    def to(self, target: URL) -> Exchange:
        """Return the same exchange with another URL of the same host."""
        return replace(self, target=target)

    async def send(self, payload: SegmentPayload) -> Answer:
        """PUT *payload* and return the answer, whatever its status.

        Raises NotSentError, InterruptedTransferError (BodyInterruptedError when `probe_refusal` may find the reason),
        ConfigurationError for an untrusted certificate or a proxy that refuses, or the error that kept the payload
        from being read.
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

    async def probe_refusal(self, length: int) -> Answer | None:
        """Return the store's refusal of a PUT of *length* bytes; None when it does not refuse or does not answer.

        No byte of the body is sent, so nothing can be stored: with `Expect: 100-continue` the store answers the
        headers alone. A store that does not support this waits for the body, hence the time limit.
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


class IdleWatchdog:
    """Cancels the block when *activity* has not changed for *idle_timeout* seconds.

    `activity` returns a mark that changes whenever bytes have moved, or None while none are expected to move.
    The watchdog runs until the block ends or `stop` is called.
    """

    def __init__(self, activity: Callable[[], object], idle_timeout: float) -> None:
        self._activity = activity
        self._idle_timeout = idle_timeout
        self._scope = anyio.CancelScope()
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._mark: object = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Start the watchdog."""
        self._scope.__enter__()
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Stop the watchdog and absorb the cancellation that it caused."""
        self.stop()
        return bool(self._scope.__exit__(kind, error, traceback))

    def stop(self) -> None:
        """Stop the watchdog."""
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
        self._timer = self._loop.call_later(self._idle_timeout / _CHECKS_PER_TIMEOUT, self._look)
