"""The benchmark's store: it takes what S3's clients send, however it is cut, and refuses the rest."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest
from benchmark.sink.answers import FLOW_PATH, Flow, Shelf, Stored
from benchmark.sink.exchange import HEAD_LIMIT_BYTES, Exchange
from benchmark.sink.framing import LINE_LIMIT_BYTES, Chunked
from hypothesis import given
from hypothesis import strategies as st

PAYLOAD = bytes(range(256)) * 40
STORED = Stored(len(PAYLOAD), hashlib.md5(PAYLOAD).hexdigest())
PATH = "/bucket/key"


def chunked(payload: bytes, size: int, *trailers: bytes) -> bytes:
    """The payload in chunks of *size*, with trailers behind the last."""
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
    chunks = b"".join(b"%x;sig=00\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + b"0\r\n" + b"".join(trailer + b"\r\n" for trailer in trailers) + b"\r\n"


AWS_CHUNKED = chunked(PAYLOAD, 4096, b"x-amz-checksum-crc32:AAAAAA==")
DECODED = f"X-Amz-Decoded-Content-Length: {len(PAYLOAD)}"
CHUNKED = "Transfer-Encoding: chunked"


def put(body: bytes, *headers: str, target: str = PATH) -> bytes:
    """A PUT of *body* as it is."""
    return "\r\n".join([f"PUT {target} HTTP/1.1", "Host: store", *headers, "", ""]).encode() + body


@dataclass
class Store:
    """A sink in this process."""

    shelf: Shelf
    port: int

    async def say(self, *requests: bytes) -> bytes:
        """Send the requests and return what is answered until the connection ends."""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            for request in requests:
                await stream.send(request)
            await stream.send_eof()
            return b"".join([part async for part in stream])


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A sink that computes digests."""
    shelf, buffer = Shelf(), memoryview(bytearray(1 << 16))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(shelf, buffer, is_hashing=True), "127.0.0.1", 0)
    async with server:
        yield Store(shelf, server.sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    "request_bytes",
    [
        put(PAYLOAD, f"Content-Length: {len(PAYLOAD)}"),
        put(chunked(PAYLOAD, 1000), CHUNKED),
        put(AWS_CHUNKED, DECODED, f"Content-Length: {len(AWS_CHUNKED)}"),
        put(chunked(AWS_CHUNKED, 777), DECODED, CHUNKED),
    ],
    ids=["plain", "chunked", "aws-chunked", "aws-chunked in chunks"],
)
async def test_an_object_is_its_payload_without_the_framing(store: Store, request_bytes: bytes) -> None:
    """Size and ETag are those of the file, and the next request on the connection is understood."""
    answer = await store.say(request_bytes, request_bytes.replace(b"/key", b"/other"))

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert store.shelf.objects == {PATH: STORED, "/bucket/other": STORED}
    assert store.shelf.arrivals[PATH].received_bytes == len(PAYLOAD)


@given(cuts=st.lists(st.integers(0, len(AWS_CHUNKED)), max_size=12))
def test_chunks_may_be_cut_anywhere(cuts: list[int]) -> None:
    """What lies behind the last chunk is given back."""
    kept = bytearray()
    framing = Chunked(kept.extend)
    sent = AWS_CHUNKED + b"GET /next"

    rest = b""
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(sent)], strict=True):
        rest += framing.feed(memoryview(sent)[start:end])

    assert framing.is_complete
    assert kept == PAYLOAD
    assert rest == b"GET /next"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01 this is TLS\r\n\r\n",
        b"PUT /bucket/key\r\n\r\n",
        b"PUT //[ HTTP/1.1\r\n\r\n",
        b"PUT /bucket/key HTTP/1.1\r\nX-Filler: ".ljust(HEAD_LIMIT_BYTES, b"x"),
        put(b"", "Content-Length: -5"),
        put(b"", "Content-Length: many"),
        put(b"x", "Content-Length: 1", target=f"{PATH}?uploadId=u&partNumber=first"),
        put(b"size\r\n", CHUNKED),
        put(b"-1\r\n", CHUNKED),
        put(b"1\r\nxx\r\n", CHUNKED),
        put(b"0" * LINE_LIMIT_BYTES, CHUNKED),
        put(AWS_CHUNKED, "X-Amz-Decoded-Content-Length: 3", f"Content-Length: {len(AWS_CHUNKED)}"),
        put(AWS_CHUNKED[:100], DECODED, "Content-Length: 100"),
    ],
)
async def test_a_malformed_request_is_refused_and_the_connection_ends(
    store: Store, request_bytes: bytes
) -> None:
    """Nothing is stored, and what comes behind it is not looked at."""
    answer = await store.say(request_bytes)

    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert answer.count(b"HTTP/1.1") == 1
    assert not store.shelf.objects


async def test_objects_are_listed_by_what_their_keys_begin_with(store: Store) -> None:
    """In the bucket that is asked, and in order."""
    for name in ("p/b", "p/a", "q/a"):
        store.shelf.objects[f"/bucket/{name}"] = STORED
    store.shelf.objects["/bucket2/p/a"] = STORED

    answer = await store.say(b"GET /bucket/?list-type=2&prefix=p%2F HTTP/1.1\r\nHost: store\r\n\r\n")

    listed = b"<Contents><Key>p/a</Key></Contents><Contents><Key>p/b</Key></Contents>"
    assert b"<KeyCount>2</KeyCount>" + listed in answer


async def test_the_flow_is_told_from_its_first_to_its_last_byte(store: Store) -> None:
    """Once: the next begins with the next byte."""
    request = put(PAYLOAD, f"Content-Length: {len(PAYLOAD)}")
    await store.say(request, request)

    told, nothing = [
        json.loads((await store.say(f"GET {FLOW_PATH} HTTP/1.1\r\n\r\n".encode())).partition(b"\r\n\r\n")[2])
        for _ in range(2)
    ]

    assert told["received_bytes"] == 2 * len(PAYLOAD)
    assert told["last_at"] > told["first_at"]
    assert nothing == vars(Flow())
