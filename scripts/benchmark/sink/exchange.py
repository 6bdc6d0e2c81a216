"""One connection: heads are collected, bodies go by."""

from __future__ import annotations

import asyncio
import hashlib
import time

from benchmark.sink.answers import Answers, Arrival, Flow, Reply, Shelf, Stored
from benchmark.sink.framing import Chunked, Framing, MalformedRequestError, Sized
from benchmark.sink.head import Head

HEAD_LIMIT_BYTES = 1 << 16


class Body:
    """What a request carries, without its framing: only its length and its digest are kept."""

    def __init__(self, head: Head, arrival: Arrival, flow: Flow, *, is_hashing: bool) -> None:
        self._head = head
        self._arrival = arrival
        self._flow = flow
        self._is_hashing = is_hashing
        self._size = 0
        self._digest = hashlib.md5(usedforsecurity=False)
        self._inner = Chunked(self._keep) if head.decoded_length is not None else None
        consume = self._inner.feed if self._inner else self._keep
        self._outer: Framing = Chunked(consume) if head.is_chunked else Sized(head.length, consume)

    @property
    def is_complete(self) -> bool:
        """True once all of it went by."""
        return self._outer.is_complete

    @property
    def stored(self) -> Stored:
        """The object it makes; without hashing its ETag is the MD5 of nothing: as long as a real one, and free.

        Raises MalformedRequestError for a payload that is not as long as was said.
        """
        is_whole = self._inner is None or self._inner.is_complete
        if not is_whole or self._head.decoded_length not in {None, self._size}:
            raise MalformedRequestError("the payload has another length than was said")
        return Stored(self._size, self._digest.hexdigest())

    def feed(self, data: memoryview) -> memoryview:
        """Let bytes go by and return what lies behind the body; raises MalformedRequestError."""
        return self._outer.feed(data)

    def _keep(self, piece: memoryview) -> None:
        now = time.monotonic()
        if not self._size:
            self._arrival.begin(now)
        if self._is_hashing:
            self._digest.update(piece)
        self._size += len(piece)
        self._arrival.received_bytes += len(piece)
        self._flow.take(len(piece), now)


class Exchange(asyncio.BufferedProtocol):
    """Takes requests in turn; everything is received into one buffer that all connections share."""

    def __init__(self, shelf: Shelf, buffer: memoryview, *, is_hashing: bool) -> None:
        self._shelf = shelf
        self._buffer = buffer
        self._is_hashing = is_hashing
        self._raw_head = b""
        self._request: tuple[Head, Body] | None = None

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
        try:
            while data and not self._transport.is_closing():
                data = (
                    self._take_head(data) if self._request is None else self._take_body(*self._request, data)
                )
        except MalformedRequestError as error:
            self._reply(("400 Bad Request", {"Connection": "close"}, f"{error}\n".encode()))
            self._transport.close()

    def _take_head(self, data: memoryview) -> memoryview:
        known = len(self._raw_head)
        self._raw_head += data[:HEAD_LIMIT_BYTES]
        end = self._raw_head.find(b"\r\n\r\n")
        if end < 0 and len(self._raw_head) >= HEAD_LIMIT_BYTES:
            raise MalformedRequestError("the request's head is too long")
        if end < 0:
            return data[len(data) :]
        raw, self._raw_head = self._raw_head[:end], b""
        self._begin(Head.parse(raw))
        return data[end + 4 - known :]

    def _begin(self, head: Head) -> None:
        arrival = self._shelf.arrivals.setdefault(head.path, Arrival()) if head.has_body else Arrival()
        body = Body(head, arrival, self._shelf.flow, is_hashing=self._is_hashing)
        if head.is_expecting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if body.is_complete:
            self._answer(head, body)
        else:
            self._request = head, body

    def _take_body(self, head: Head, body: Body, data: memoryview) -> memoryview:
        rest = body.feed(data)
        if body.is_complete:
            self._request = None
            self._answer(head, body)
        return rest

    def _answer(self, head: Head, body: Body) -> None:
        self._reply(Answers(self._shelf, head, body.stored).answer(), has_body=head.method != "HEAD")

    def _reply(self, reply: Reply, *, has_body: bool = True) -> None:
        status, headers, body = reply
        length = headers.get("Content-Length", str(len(body)))
        fields = "".join(
            f"{name}: {value}\r\n" for name, value in (headers | {"Content-Length": length}).items()
        )
        self._transport.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + (body if has_body else b""))
