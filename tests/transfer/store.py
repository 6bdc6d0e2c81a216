"""A store on a raw loopback socket whose conduct each test writes down itself."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from orchestrator.domain.presigned import PresignedUrl

#: Bytes of the URL that no text of ours may show; escaped as MetaStudio escapes it.
SECRET = "VN%2FogDK0Ww4%3D"


@dataclass
class Request:
    """One request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)

    @property
    def is_probe(self) -> bool:
        """True for a request that asks before it sends."""
        return ("Expect", "100-continue") in self.headers

    @property
    def length(self) -> int:
        """The declared length of the body."""
        return int(dict(self.headers)["Content-Length"])


class Connection:
    """One accepted connection: what a test's conduct acts on."""

    def __init__(self, store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.store = store
        self.reader = reader
        self.writer = writer

    async def head(self) -> Request:
        """Read one request up to its body; raises EOFError when the client has no more."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = text.strip().split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (item.partition(":") for item in lines)]
        request = Request(line, headers)
        self.store.requests.append(request)
        return request

    async def take(self, request: Request, count: int) -> None:
        """Read *count* more bytes of the body."""
        request.body += await self.reader.readexactly(count)

    async def take_all(self, request: Request) -> None:
        """Read the rest of the body, keeping only what comes."""
        while len(request.body) < request.length:
            piece = await self.reader.read(min(65536, request.length - len(request.body)))
            if not piece:
                raise EOFError
            request.body += piece

    async def request(self) -> Request:
        """Read one whole request."""
        request = await self.head()
        await self.take_all(request)
        return request

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer; header names are written with underscores."""
        lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(raw)
        await self.writer.drain()

    def reset(self) -> None:
        """Tear the connection down so that the client sees a reset."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Read on, into the last request's body, until the client closes."""
        with suppress(ConnectionError):
            while piece := await self.reader.read(65536):
                self.store.requests[-1].body += piece


Conduct = Callable[[Connection], Awaitable[None]]


class Store:
    """What came in, and where it listens."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.scheme = scheme
        self.requests: list[Request] = []
        self.connections = 0
        self.surprises: list[BaseException] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def ended(self) -> None:
        """Wait until every connection so far is over."""
        await asyncio.wait(self.tasks, timeout=3)
        assert all(task.done() for task in self.tasks)

    def url(self, *, host: str = "127.0.0.1", expires: int = 4102444800) -> PresignedUrl:
        """A URL to this store, with query bytes that a careless client would rewrite."""
        query = f"AccessKeyId=AK&Expires={expires}&Signature={SECRET}&partNumber=1&uploadId=0a+b"
        return PresignedUrl(f"{self.scheme}://{host}:{self.port}/bucket/film%20one?{query}")


@asynccontextmanager
async def serving(conduct: Conduct, tls: ssl.SSLContext | None = None) -> AsyncIterator[Store]:
    """Serve on a free port; whatever a conduct raises beyond a broken connection fails the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Small on purpose: a client that meets a full window must not hide behind the kernel's buffers.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    store = Store(listener.getsockname()[1], "https" if tls else "http")

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conduct(Connection(store, reader, writer))
        except (EOFError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001 - reported at the end of the test
            store.surprises.append(error)
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store.connections += 1
        store.tasks.add(asyncio.create_task(act(reader, writer)))

    server = await asyncio.start_server(accept, sock=listener, ssl=tls, limit=65536)
    try:
        yield store
    finally:
        server.close()
        for task in store.tasks:
            task.cancel()
        await asyncio.gather(*store.tasks, return_exceptions=True)
    assert store.surprises == []


async def store_it(connection: Connection) -> None:
    """The conduct of a good store: every request is stored and answered with its MD5."""
    while True:
        request = await connection.request()
        await connection.answer(200, ETag=f'"{hashlib.md5(request.body).hexdigest()}"', x_obs_request_id="R1")


def error_document(code: str, message: str = "", request_id: str = "0A1B") -> bytes:
    """A store's XML error document."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>/b/o</Resource>"
        f"<RequestId>{request_id}</RequestId><HostId>H</HostId></Error>"
    ).encode()
