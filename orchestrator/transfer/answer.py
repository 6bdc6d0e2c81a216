"""The answers of a store: to a PUT, with the error or receipt it stands for, and to a probe of an object.

Decisions are pure functions; the XML code takes precedence over the status. The codes are those of
metastudio-protocol section 5.3, and those that S3-compatible stores use for the same errors. The repr of an answer
never contains a URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import anyio
from multidict import CIMultiDictProxy
from yarl import URL

from orchestrator.domain.errors import (
    ConfigurationError,
    ETagMismatchError,
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
    RefusedUploadError,
    RequestRejectedError,
    RetryableError,
    ThrottledError,
    UnmarkedAnswerError,
    UrlExpiredError,
)
from orchestrator.domain.evidence import Evidence, ObjectFacts, Receipt, is_md5
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.untrusted_text import bare_etag, plain_name, quotable
from orchestrator.network.errors import CONNECTION_ERRORS, connection_error

#: More than any error document of a store; the rest of a body is not read.
BODY_LIMIT_BYTES: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 200
_ENCRYPTION_HEADERS: Final = ("x-obs-server-side-encryption", "x-amz-server-side-encryption")
_REQUEST_ID_HEADERS: Final = ("x-obs-request-id", "x-amz-request-id")
_FOREIGN_TYPE: Final = re.compile(
    r"text/html|application/xhtml\+xml|application/([\w.-]+\+)?json", re.IGNORECASE
)
_FOREIGN_BODY: Final = re.compile(rb"\s*(<!doctype\s+html|<html|[{\[])", re.IGNORECASE)

_EXPIRED_CODES: Final = frozenset({"RequestTimeTooSkewed", "ExpiredToken", "RequestExpired"})
_REFUSED_CODES: Final = frozenset({"NoSuchUpload", "AccessDenied"})
_THROTTLED_CODES: Final = frozenset({"SlowDown", "TooManyRequests", "ServiceUnavailable", "Throttling"})
_UNDONE_CODES: Final = frozenset({"IncompleteBody", "RequestTimeout", "OperationAborted"})
_UNCLEAR_CODES: Final = frozenset({"InternalError", "BadGateway", "GatewayTimeout"})
#: Codes that are final even if the URL has expired by our clock, with hints.
_REJECTED_CODES: Final[dict[str, str | None]] = {
    "SignatureDoesNotMatch": "the URL was altered, or something on the way changes headers: look for a proxy",
    "InvalidAccessKeyId": "the service signs with an unknown key: send the vendor the request id",
    "InArrearOrInsufficientBalance": "settle the account's balance, then run again",
    "InsufficientStorageSpace": "the store's space is used up: send the vendor the request id",
    "EntityTooLarge": "a part may have 5 GiB: use more parts",
    "EntityTooSmall": "every part but the last needs 100 KiB: use fewer parts",
    "MissingContentLength": "something on the way removes the Content-Length header: look for a proxy",
    "MethodNotAllowed": None,
    "PreconditionFailed": None,
    "NoSuchBucket": None,
    "NoSuchKey": None,
    "InvalidArgument": None,
    "BadDigest": None,
    "TooManyWrongSignature": None,
}

_PROXY_HINT: Final = "a proxy asks for credentials: check HTTP_PROXY, its user and password, and NO_PROXY"
_UNDONE_STATUSES: Final = frozenset({408, 409, 425})
_THROTTLED_STATUSES: Final = frozenset({429, 503})
_REFUSED_STATUSES: Final = frozenset({403, 404})
_STORED_STATUSES: Final = frozenset({200, 201, 204})
#: Stores that sign the method refuse HEAD for a URL signed for GET, so one byte is requested instead.
_PROBES: tuple[tuple[str, dict[str, str]], ...] = (("HEAD", {}), ("GET", {"Range": "bytes=0-0"}))

#: A header can hold more digits than Python converts; no object is that long.
_LENGTH_DIGITS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A store's answer; `code` and `message` come from its XML error document, if there is one.

    `is_marked` means that it has an ETag or a store's request id, which only a store sends; `is_foreign` that its
    body is an HTML page or a JSON document, which no store sends in answer to a PUT.
    """

    status: int
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    etag: str | None = None
    is_encrypted: bool = False
    is_marked: bool = False
    is_foreign: bool = False
    retry_after: str | None = None
    location: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ErrorDocument:
    """The fields of a store's XML error document that matter (metastudio-protocol section 5.3)."""

    code: str | None = None
    message: str | None = None
    request_id: str | None = None


async def read_answer(response: aiohttp.ClientResponse, body_timeout: float) -> Answer:
    """Read *response* into an Answer, using the part of its body that arrives within *body_timeout* seconds."""
    body = bytearray()
    # The usual answer has no body, so there is nothing to wait for.
    if not response.content.at_eof():
        with anyio.move_on_after(body_timeout), suppress(*CONNECTION_ERRORS):
            while piece := await response.content.read(BODY_LIMIT_BYTES - len(body)):
                body += piece
    document = parse_error_document(bytes(body)) if body else ErrorDocument()
    headers = response.headers
    names = " ".join(headers).lower()
    etag, named = marks_of(headers)
    return Answer(
        status=response.status,
        code=document.code,
        message=document.message,
        request_id=plain_name(named) or document.request_id,
        etag=etag,
        # Several headers share these prefixes, such as the one with the key.
        is_encrypted=any(name in names for name in _ENCRYPTION_HEADERS),
        is_marked=etag is not None or named is not None,
        is_foreign=is_foreign(headers, body),
        retry_after=headers.get("Retry-After"),
        location=headers.get("Location"),
    )


def parse_error_document(body: bytes) -> ErrorDocument:
    """Read `<Error>` as far as it is well-formed; return an empty document for anything else, and never raise.

    Document types, and with them entities, end the parsing.
    """
    from xml.parsers import expat  # noqa: PLC0415 - few runs ever get a refusal

    reading = _ErrorReading()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = reading.refuse
    with suppress(expat.ExpatError, ValueError, LookupError):
        parser.Parse(body, True)
    return reading.document()


class _ErrorReading:
    """Collects the children of a root element named Error."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._fields: dict[str, str] = {}
        self._text = ""

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(":")[2])
        self._text = ""

    def text(self, text: str) -> None:
        self._text += text

    def end(self, _name: str) -> None:
        if len(self._path) == 2 and self._path[0] == "Error":
            self._fields.setdefault(self._path[1], self._text.strip())
        self._path.pop()

    def refuse(self, *_declaration: object) -> None:
        raise ValueError("a document type in an error document")

    def document(self) -> ErrorDocument:
        return ErrorDocument(
            code=plain_name(self._fields.get("Code")),
            message=quotable(self._fields.get("Message") or "", longest=_MESSAGE_LIMIT) or None,
            request_id=plain_name(self._fields.get("RequestId")),
        )


def marks_of(headers: CIMultiDictProxy[str]) -> tuple[str | None, str | None]:
    """Return the ETag and the store's request id; an answer with neither is not a store's (section 5.3)."""
    named = next(filter(None, map(headers.get, _REQUEST_ID_HEADERS)), None)
    return bare_etag(headers.get("ETag")), named


def is_foreign(headers: CIMultiDictProxy[str], body: bytes | bytearray) -> bool:
    """True when the body is an HTML page or a JSON document, by its content type or its first bytes."""
    if not body and headers.get("Content-Length", "0") == "0":
        # An empty body is not foreign, whatever its type; nearly every answer to a PUT is empty.
        return False
    is_typed = _FOREIGN_TYPE.match(headers.get("Content-Type", "").strip()) is not None
    return is_typed or _FOREIGN_BODY.match(body) is not None


def is_success(answer: Answer) -> bool:
    """True when the answer is a success; an error document in the body of a 200 makes it a failure."""
    return answer.status in _STORED_STATUSES and answer.code is None


def check_mark(answer: Answer, md5: str | None) -> None:
    """Raise UnmarkedAnswerError unless a successful *answer* certainly comes from the store.

    A proxy, a login page or a gateway can also answer 200, to a PUT that never reached the store.
    """
    if answer.is_marked and not answer.is_foreign:
        return
    if answer.is_foreign:
        sentence = "a page or document came in place of the store's answer"
        raise UnmarkedAnswerError(sentence, status=answer.status)
    sentence = f"the answer {answer.status} has neither an ETag nor a request id of the store"
    error = UnmarkedAnswerError(sentence, code="Unmarked", status=answer.status)
    error.receipt = Receipt(etag=None, md5=md5, is_verified=False, evidence=Evidence.UNMARKED)
    raise error


def error_of(
    answer: Answer, *, is_url_past: bool, is_body_sent: bool, retry_after: float | None
) -> OrchestratorError:
    """Return the error for *answer*; *is_url_past* means that the URL has expired by our clock."""
    kind = _kind_of(answer, is_url_past=is_url_past)
    if issubclass(kind, RetryableError):
        error: OrchestratorError = kind(
            _sentence(answer),
            code=answer.code,
            status=answer.status,
            request_id=answer.request_id,
            retry_after=retry_after,
        )
        if isinstance(error, InterruptedTransferError):
            error.is_body_sent = is_body_sent
        return error
    return kind(
        _sentence(answer),
        code=answer.code,
        status=answer.status,
        request_id=answer.request_id,
        hint=_PROXY_HINT if kind is ConfigurationError else _REJECTED_CODES.get(answer.code or ""),
    )


def receipt_of(answer: Answer, md5: str | None, on_warning: Callable[[str], None]) -> Receipt:
    """Return the receipt for a successful *answer*; raise ETagMismatchError when its ETag is another MD5.

    With server-side encryption the ETag need not be the MD5 (metastudio-protocol section 5.2).
    """
    if md5 is None or answer.etag == md5:
        return _receipt(answer, md5, is_verified=md5 is not None)
    if answer.etag is None:
        on_warning("the store sends no ETag, so what it stored cannot be compared with what was sent")
    elif answer.is_encrypted:
        on_warning("the store encrypts what it stores, so its ETags cannot be compared with the MD5 sent")
    elif not is_md5(answer.etag):
        on_warning("the store's ETags are no MD5, so what it stored cannot be compared with what was sent")
    else:
        raise ETagMismatchError(
            f"the store holds other bytes than were sent (ETag {answer.etag}, MD5 {md5})",
            status=answer.status,
            request_id=answer.request_id,
        )
    return _receipt(answer, md5, is_verified=False)


def _receipt(answer: Answer, md5: str | None, *, is_verified: bool) -> Receipt:
    return Receipt(etag=answer.etag, md5=md5, is_verified=is_verified, request_id=answer.request_id)


def _kind_of(answer: Answer, *, is_url_past: bool) -> type[OrchestratorError]:
    """Classify the error by the code if it decides, then by the clock, then by the status."""
    by_code = _kind_by_code(answer)
    if by_code not in {None, RefusedUploadError}:
        return by_code or RequestRejectedError
    if is_url_past and answer.status in {400, 403}:
        return UrlExpiredError
    return by_code or _kind_by_status(answer.status)


def _kind_by_code(answer: Answer) -> type[OrchestratorError] | None:
    code = answer.code or ""
    says_expired = "expired" in (answer.message or "").lower()
    if code in _EXPIRED_CODES or (code in {"AccessDenied", "InvalidRequest"} and says_expired):
        return UrlExpiredError
    kinds: tuple[tuple[frozenset[str], type[OrchestratorError]], ...] = (
        (_REFUSED_CODES, RefusedUploadError),
        (_THROTTLED_CODES, ThrottledError),
        (_UNDONE_CODES, RetryableError),
        (_UNCLEAR_CODES, InterruptedTransferError),
        (frozenset(_REJECTED_CODES), RequestRejectedError),
    )
    return next((kind for codes, kind in kinds if code in codes), None)


def _kind_by_status(status: int) -> type[OrchestratorError]:
    if status in _REFUSED_STATUSES:
        return RefusedUploadError
    if status in _THROTTLED_STATUSES:
        return ThrottledError
    if status in _UNDONE_STATUSES:
        return RetryableError
    if status == 407:
        return ConfigurationError
    if status >= 500 and status not in {501, 505}:
        return InterruptedTransferError
    return RequestRejectedError


def _sentence(answer: Answer) -> str:
    code = f" {answer.code}" if answer.code else ""
    message = f": {answer.message}" if answer.message else ""
    return f"the store answered {answer.status}{code}{message}"


async def probe_object(
    session: aiohttp.ClientSession,
    url: PresignedUrl,
    *,
    timeout_seconds: float,
    is_insecure_http_allowed: bool = False,
) -> ObjectFacts | None:
    """Return the length and ETag of the object at *url*; None when the store does not report it, or is not asked.

    A URL that would be sent unencrypted is not used, unless http is allowed, and no redirect is followed. An answer
    without a store's mark, or with a page, comes from an intermediary and proves nothing. Raises NotSentError,
    InterruptedTransferError or ThrottledError when the store does not answer the question.
    """
    if not url.is_private(is_insecure_http_allowed=is_insecure_http_allowed):
        return None
    try:
        target = URL(url.reveal(), encoded=True)
    except ValueError:
        return None
    for method, headers in _PROBES:
        try:
            with anyio.fail_after(timeout_seconds):
                facts = await _probe(session, method, target, headers)
        except CONNECTION_ERRORS as error:
            failure = connection_error(error, url.host)
            if isinstance(failure, NotSentError):
                raise failure from None
            raise InterruptedTransferError(f"{url.host} does not show an object") from None
        if facts is not None:
            return facts
    return None


async def _probe(
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
