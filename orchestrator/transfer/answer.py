"""What a store answered to a PUT, reduced to what decides; it never carries a URL in its text form."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import anyio
from multidict import CIMultiDictProxy

from orchestrator.domain.foreign import bare_etag, plain_name, quotable
from orchestrator.network.errors import CONNECTION_ERRORS

#: More than any error document of a store; the rest is not read.
BODY_LIMIT_BYTES: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 200
_ENCRYPTION_HEADERS: Final = ("x-obs-server-side-encryption", "x-amz-server-side-encryption")
_REQUEST_ID_HEADERS: Final = ("x-obs-request-id", "x-amz-request-id")
_FOREIGN_TYPE: Final = re.compile(
    r"text/html|application/xhtml\+xml|application/([\w.-]+\+)?json", re.IGNORECASE
)
_FOREIGN_BODY: Final = re.compile(rb"\s*(<!doctype\s+html|<html|[{\[])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A store's answer; `code` and `message` are those of its XML error document, if it sent one.

    `is_marked` says that it has what only a store gives, an ETag or a request id of its own; `is_foreign` that its
    body is a page or a JSON document, which no store sends to a PUT.
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
    """The parts of a store's XML error document that decide (metastudio-protocol section 5.3)."""

    code: str | None = None
    message: str | None = None
    request_id: str | None = None


async def read_answer(response: aiohttp.ClientResponse, body_timeout: float) -> Answer:
    """Reduce *response*; what came of its body within *body_timeout* seconds counts."""
    # The usual answer has no body, and nothing to wait for.
    body = b"" if response.content.at_eof() else await _read_body(response, body_timeout)
    document = parse_error_document(body) if body else ErrorDocument()
    headers = response.headers
    names = " ".join(headers).lower()
    named = next(filter(None, map(headers.get, _REQUEST_ID_HEADERS)), None)
    return Answer(
        status=response.status,
        code=document.code,
        message=document.message,
        request_id=plain_name(named) or document.request_id,
        etag=bare_etag(headers.get("ETag")),
        # Several headers have names that start alike, such as the one with the key.
        is_encrypted=any(name in names for name in _ENCRYPTION_HEADERS),
        is_marked=is_marked(headers),
        is_foreign=is_foreign(headers, body),
        retry_after=headers.get("Retry-After"),
        location=headers.get("Location"),
    )


async def _read_body(response: aiohttp.ClientResponse, timeout: float) -> bytes:
    body = bytearray()
    with anyio.move_on_after(timeout), suppress(*CONNECTION_ERRORS):
        while piece := await response.content.read(BODY_LIMIT_BYTES - len(body)):
            body += piece
    return bytes(body)


def parse_error_document(body: bytes) -> ErrorDocument:
    """Read `<Error>` as far as it is well-formed; anything else is an empty document, never an exception.

    Document types, and with them entities, end the reading.
    """
    from xml.parsers import expat  # noqa: PLC0415 - few runs are ever refused anything

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


def is_marked(headers: CIMultiDictProxy[str]) -> bool:
    """True when an answer has an ETag or a store's request id (metastudio-protocol section 5.3)."""
    return bare_etag(headers.get("ETag")) is not None or any(map(headers.get, _REQUEST_ID_HEADERS))


def is_foreign(headers: CIMultiDictProxy[str], body: bytes) -> bool:
    """True when the body is a page or a JSON document, by its type or by how it starts."""
    is_empty = not body and headers.get("Content-Length", "0") == "0"
    is_typed = _FOREIGN_TYPE.match(headers.get("Content-Type", "").strip()) is not None
    return (is_typed and not is_empty) or _FOREIGN_BODY.match(body) is not None
