"""One segment to one presigned URL: one attempt, ending in a receipt or in an error that says what to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from yarl import URL

from orchestrator.domain.assets import Asset
from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
)
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.receipts import Receipt
from orchestrator.domain.retry import retry_after_seconds
from orchestrator.domain.segments import Segment
from orchestrator.transfer.answer import Answer
from orchestrator.transfer.exchange import BodyInterruptedError, Exchange
from orchestrator.transfer.hashing import HashPool
from orchestrator.transfer.md5 import best_md5
from orchestrator.transfer.payload import OnBytes, Pace, SegmentPayload
from orchestrator.transfer.reader import (
    PIECE_BYTES,
    SMALL_BYTES,
    Hashed,
    Reader,
    SegmentReader,
    SmallSegmentReader,
    Unhashed,
)
from orchestrator.transfer.source import Buffers, Source
from orchestrator.transfer.verdict import check_mark, error_of, is_success, receipt_of


class SegmentSender:
    """Sends segments over a shared session; holds nothing between calls but buffers and the warnings given.

    Files are read in *readers*, as many threads as there are cores; *clock* is in epoch seconds. *is_verifying*
    decides whether MD5s are computed and compared. *on_warning* is called once for each warning.
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
        """PUT *segment* to *url*, as fast as *pace* allows, and return what the store says it holds.

        Raises NotSentError, InterruptedTransferError, UnmarkedAnswerError, ThrottledError, RetryableError,
        ETagMismatchError, UrlExpiredError, RefusedUploadError, RequestRejectedError, SourceChangedError, or
        ConfigurationError for what is wrong with every segment: no https, an untrusted certificate, a proxy that
        refuses.
        """
        exchange = self._exchange(asset, url)
        try:
            answer, payload = await self._send(exchange, asset, segment, on_bytes, pace)
            redirected = _redirected(answer, exchange.target)
            if redirected is not None:
                exchange = exchange.to(redirected)
                answer, payload = await self._send(exchange, asset, segment, on_bytes, pace)
        except BodyInterruptedError as error:
            refusal = await exchange.ask(segment.length)
            raise (self._error_of(refusal, url, is_body_sent=False) if refusal else error) from None
        if not is_success(answer):
            raise self._error_of(answer, url, is_body_sent=payload.is_handed_over)
        if not payload.is_handed_over:
            raise InterruptedTransferError(f"{url.host} claims to have the segment before it was sent")
        check_mark(answer, payload.md5)
        return receipt_of(answer, payload.md5, self._warn_once)

    async def digest(self, asset: Asset, segment: Segment) -> str:
        """The hex MD5 of *segment* as the file is now; raises SourceChangedError when it changed."""
        hashed = Hashed(Source(asset), self._hash_pool)
        reader = SegmentReader(segment, hashed, self._readers, self._buffers)
        try:
            while await reader.next_span():
                pass
            return hashed.md5
        finally:
            reader.close()

    async def _send(
        self, exchange: Exchange, asset: Asset, segment: Segment, on_bytes: OnBytes, pace: Pace | None
    ) -> tuple[Answer, SegmentPayload]:
        reader = await self._reader(asset, segment)
        payload = SegmentPayload(reader, segment.length, on_bytes=on_bytes, pace=pace)
        return await exchange.send(payload), payload

    async def _reader(self, asset: Asset, segment: Segment) -> Reader:
        if segment.length < SMALL_BYTES:
            return await self._small.read(asset, segment)
        source = Source(asset)
        preparation = (
            Hashed(source, self._hash_pool) if self._is_verifying else Unhashed(source, self._readers)
        )
        return SegmentReader(segment, preparation, self._readers, self._buffers)

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
    """Where to send the segment again, once; raises RequestRejectedError when that is another host."""
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
