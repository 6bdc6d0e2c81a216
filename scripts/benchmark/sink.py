#!/usr/bin/env python3
"""A store that is cheaper than any client: it takes bodies into one buffer and answers as S3 would.

No signature is checked and nothing is kept but sizes and ETags. Run it in a process of its own; it prints one
line of JSON with its port once it listens, and with `--meter` one with all bytes received after every second.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import ssl
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUFFER_BYTES = 1 << 20
HEAD_LIMIT_BYTES = 1 << 16
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass(frozen=True)
class Stored:
    """What is known of an object or a part."""

    size: int
    etag: str


@dataclass
class Shelf:
    """Objects by path, and the parts of uploads that are open."""

    objects: dict[str, Stored] = field(default_factory=dict)
    parts: dict[str, dict[int, Stored]] = field(default_factory=dict)
    received_bytes: int = 0
    upload_numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def open_upload(self) -> str:
        """Begin a multipart upload."""
        upload_id = f"upload-{next(self.upload_numbers)}"
        self.parts[upload_id] = {}
        return upload_id

    def complete(self, path: str, upload_id: str) -> Stored:
        """Join the parts; an upload nobody opened here has none."""
        parts = [part for _, part in sorted(self.parts.pop(upload_id, {}).items())]
        etag = hashlib.md5(
            b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False
        ).hexdigest()
        self.objects[path] = Stored(sum(part.size for part in parts), f"{etag}-{len(parts)}")
        return self.objects[path]


@dataclass(frozen=True)
class Head:
    """A request without its body."""

    method: str
    path: str
    query: dict[str, list[str]]
    length: int
    is_expecting: bool

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """Read request line and the headers that matter."""
        line, *headers = raw.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        split = urlsplit(target)
        fields = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in headers)}
        return cls(
            method=method,
            path=unquote(split.path),
            query=parse_qs(split.query, keep_blank_values=True),
            length=int(fields.get("content-length", 0)),
            is_expecting=fields.get("expect", "").lower() == "100-continue",
        )

    def value(self, name: str) -> str:
        """The first value of a query parameter, empty when it is not there."""
        return self.query.get(name, [""])[0]


class Exchange(asyncio.BufferedProtocol):
    """One connection: heads are collected, bodies pass through a buffer all connections share."""

    def __init__(self, shelf: Shelf, buffer: memoryview, *, is_hashing: bool) -> None:
        self._shelf = shelf
        self._buffer = buffer
        self._is_hashing = is_hashing
        self._raw_head = b""
        self._head: Head | None = None
        self._left = 0
        self._digest = hashlib.md5(usedforsecurity=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Receive into the shared buffer: what is in it is used up before the loop goes on."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Use up what came: heads and bodies in turn."""
        data = self._buffer[:nbytes]
        while data:
            data = self._take_head(data) if self._head is None else self._take_body(self._head, data)

    def _take_head(self, data: memoryview) -> memoryview:
        known = len(self._raw_head)
        self._raw_head += bytes(data[:HEAD_LIMIT_BYTES])
        end = self._raw_head.find(b"\r\n\r\n")
        if end < 0:
            return data[len(data) :]
        head = Head.parse(self._raw_head[:end])
        self._head, self._left, self._raw_head = head, head.length, b""
        self._digest = hashlib.md5(usedforsecurity=False)
        if head.is_expecting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._left:
            self._answer(head)
        return data[end + 4 - known :]

    def _take_body(self, head: Head, data: memoryview) -> memoryview:
        piece = data[: self._left]
        if self._is_hashing:
            self._digest.update(piece)
        self._left -= len(piece)
        self._shelf.received_bytes += len(piece)
        if not self._left:
            self._answer(head)
        return data[len(piece) :]

    def _answer(self, head: Head) -> None:
        self._head = None
        status, headers, body = Answers(self._shelf, head, self._stored(head)).answer()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {headers.pop('Content-Length', len(body))}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._transport.write(
            "\r\n".join([*lines, "", ""]).encode() + (body if head.method != "HEAD" else b"")
        )

    def _stored(self, head: Head) -> Stored:
        """Without hashing the ETag is the MD5 of nothing: as long as a real one, and for free."""
        return Stored(head.length, self._digest.hexdigest())


Reply = tuple[str, dict[str, str], bytes]


class Answers:
    """What S3 would say to a request whose body has gone by."""

    def __init__(self, shelf: Shelf, head: Head, stored: Stored) -> None:
        self._shelf = shelf
        self._head = head
        self._stored = stored

    def answer(self) -> Reply:
        """Status, headers and body."""
        handlers = {"PUT": self._put, "POST": self._post, "HEAD": self._look, "GET": self._get}
        return handlers.get(self._head.method, self._done)()

    def _done(self) -> Reply:
        return "204 No Content", {}, b""

    def _put(self) -> Reply:
        head = self._head
        if head.value("uploadId"):
            self._shelf.parts.setdefault(head.value("uploadId"), {})[int(head.value("partNumber"))] = (
                self._stored
            )
        else:
            self._shelf.objects[head.path] = self._stored
        return "200 OK", _etag(self._stored), b""

    def _post(self) -> Reply:
        head = self._head
        if "uploads" in head.query:
            upload_id = self._shelf.open_upload()
            return _xml("InitiateMultipartUploadResult", self._names() + f"<UploadId>{upload_id}</UploadId>")
        stored = self._shelf.complete(head.path, head.value("uploadId"))
        return _xml(
            "CompleteMultipartUploadResult", self._names() + f"<ETag>&quot;{stored.etag}&quot;</ETag>"
        )

    def _look(self) -> Reply:
        bucket, _, key = self._head.path.strip("/").partition("/")
        stored = self._shelf.objects.get(self._head.path)
        if bucket and not key:
            return "200 OK", {}, b""
        if stored is None:
            return "404 Not Found", {}, b""
        return "200 OK", {**_etag(stored), "Content-Length": str(stored.size), **_DATES}, b""

    def _get(self) -> Reply:
        if "location" in self._head.query:
            return _xml("LocationConstraint", "")
        if "uploadId" in self._head.query:
            return _xml("ListPartsResult", self._names() + self._listed_parts())
        return _xml("ListBucketResult", "<IsTruncated>false</IsTruncated><KeyCount>0</KeyCount>")

    def _listed_parts(self) -> str:
        parts = self._shelf.parts.get(self._head.value("uploadId"), {})
        return "<IsTruncated>false</IsTruncated>" + "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag>"
            f"<LastModified>{_MODIFIED}</LastModified><Size>{part.size}</Size></Part>"
            for number, part in sorted(parts.items())
        )

    def _names(self) -> str:
        bucket, _, key = self._head.path.strip("/").partition("/")
        return f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"


_MODIFIED = "2026-01-01T00:00:00.000Z"
_DATES = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def _etag(stored: Stored) -> dict[str, str]:
    return {"ETag": f'"{stored.etag}"'}


def _xml(root: str, content: str) -> Reply:
    body = f"{_XML}<{root} {_NAMESPACE}>{content}</{root}>".encode()
    return "200 OK", {"Content-Type": "application/xml"}, body


async def serve(arguments: argparse.Namespace) -> None:
    """Listen until killed."""
    tls = None
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    shelf, buffer = Shelf(), memoryview(bytearray(BUFFER_BYTES))
    server = await asyncio.get_running_loop().create_server(
        lambda: Exchange(shelf, buffer, is_hashing=arguments.digest),
        arguments.host,
        arguments.port,
        ssl=tls,
        backlog=1024,
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while arguments.meter:
        await asyncio.sleep(1)
        print(json.dumps({"at": time.monotonic(), "received_bytes": shelf.received_bytes}), flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--digest", action="store_true", help="answer with real MD5 ETags")
    parser.add_argument("--meter", action="store_true", help="tell every second how much was received")
    parser.add_argument("--certificate", help="serve TLS with this certificate")
    parser.add_argument("--key", help="its key")
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
