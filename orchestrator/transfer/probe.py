"""Looking at an object through its presigned download URL, without fetching it."""

from __future__ import annotations

import aiohttp
import anyio
from yarl import URL

from orchestrator.domain.errors import InterruptedTransferError, NotSentError, ThrottledError
from orchestrator.domain.evidence import ObjectFacts
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.network.errors import CONNECTION_ERRORS, connection_error
from orchestrator.transfer.answer import is_foreign, marks_of

#: A URL signed for GET is refused for HEAD by stores that sign the method, so one byte is asked for instead.
_ATTEMPTS: tuple[tuple[str, dict[str, str]], ...] = (("HEAD", {}), ("GET", {"Range": "bytes=0-0"}))

#: A header can hold more digits than Python reads; no object is as long.
_LENGTH_DIGITS = 20


async def probe_object(
    session: aiohttp.ClientSession,
    url: PresignedUrl,
    *,
    timeout_seconds: float,
    is_insecure_http_allowed: bool = False,
) -> ObjectFacts | None:
    """Return length and ETag of the object at *url*; None when the store does not say, or may not be asked.

    A URL that would travel readable is not used, and no redirect is followed. An answer without a store's mark, or
    with a page, comes from something in between and says nothing. Raises NotSentError, InterruptedTransferError or
    ThrottledError when the store gives no answer of its own.
    """
    if not url.is_private(is_insecure_http_allowed=is_insecure_http_allowed):
        return None
    try:
        target = URL(url.reveal(), encoded=True)
    except ValueError:
        return None
    for method, headers in _ATTEMPTS:
        try:
            with anyio.fail_after(timeout_seconds):
                facts = await _ask(session, method, target, headers)
        except CONNECTION_ERRORS as error:
            failure = connection_error(error, url.host)
            if isinstance(failure, NotSentError):
                raise failure from None
            raise InterruptedTransferError(f"{url.host} does not show an object") from None
        if facts is not None:
            return facts
    return None


async def _ask(
    session: aiohttp.ClientSession, method: str, target: URL, headers: dict[str, str]
) -> ObjectFacts | None:
    headers = {**headers, "Accept-Encoding": "identity"}
    async with session.request(method, target, headers=headers, allow_redirects=False) as answer:
        if answer.status in {429, 503}:
            raise ThrottledError(f"the store answered {answer.status}", status=answer.status)
        if answer.status >= 500:
            raise InterruptedTransferError(f"the store answered {answer.status}", status=answer.status)
        etag, request_id = marks_of(answer.headers)
        is_marked = etag is not None or request_id is not None
        if answer.status not in {200, 206} or not is_marked or is_foreign(answer.headers, b""):
            return None
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        text = total if answer.status == 206 else answer.headers.get("Content-Length", "")
        is_length = text.isascii() and text.isdecimal() and len(text) < _LENGTH_DIGITS
        return ObjectFacts(int(text) if is_length else None, etag)
