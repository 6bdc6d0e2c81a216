"""What a store answered to a PUT, reduced to what decides; it never carries a URL in its text form."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import anyio
from multidict import CIMultiDictProxy

from orchestrator.domain.masking import plain_name, quotable

#: More than any error document of a store; the rest is not read.
BODY_LIMIT_BYTES: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 200
_ENCRYPTION_HEADERS: Final = ("x-obs-server-side-encryption", "x-amz-server-side-encryption")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A store's answer; `code` and `message` are those of its XML error document, if it sent one."""

    status: int
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    etag: str | None = None
    is_encrypted: bool = False
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
    return Answer(
        status=response.status,
        code=document.code,
        message=document.message,
        request_id=_request_id(headers) or document.request_id,
        etag=_bare_etag(headers.get("ETag")),
        is_encrypted=_is_encrypted(headers),
        retry_after=headers.get("Retry-After"),
        location=headers.get("Location"),
    )


async def _read_body(response: aiohttp.ClientResponse, timeout: float) -> bytes:
    body = bytearray()
    with anyio.move_on_after(timeout), suppress(aiohttp.ClientError, OSError):
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


def _request_id(headers: CIMultiDictProxy[str]) -> str | None:
    return plain_name(headers.get("x-obs-request-id") or headers.get("x-amz-request-id"))


def _is_encrypted(headers: CIMultiDictProxy[str]) -> bool:
    """True when a header says so; several have names that begin alike."""
    names = " ".join(headers).lower()
    return any(name in names for name in _ENCRYPTION_HEADERS)


def _bare_etag(header: str | None) -> str | None:
    etag = (header or "").strip().removeprefix("W/").strip('"').lower()
    return etag or None
