"""What a store answers is data: bounded, and whole where it is kept."""

from __future__ import annotations

import tracemalloc
import zlib

import aiohttp
import pytest

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import ThrottledError
from orchestrator.transfer.answer import probe_object
from tests.transfer.conftest import MakeAsset, MakeSender, ignore
from tests.transfer.store import Connection, serving

BOMB_BYTES = 128 * 1024**2
MEMORY_BYTES = 16 * 1024**2


def bomb() -> bytes:
    """An error document that goes on in blanks, as gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [packer.compress(b"<Error><Code>SlowDown</Code>")]
    pieces += [packer.compress(b" " * 1024**2) for _ in range(BOMB_BYTES // 1024**2)]
    return b"".join([*pieces, packer.flush()])


BOMB = bomb()


async def test_an_error_document_without_end_is_read_as_far_as_it_counts(
    make_asset: MakeAsset, make_sender: MakeSender
) -> None:
    """Its code comes first; a hundred megabytes of it would come to all segments at once."""

    async def explode(connection: Connection) -> None:
        await connection.request()
        await connection.answer(503, BOMB, Content_Encoding="gzip")
        await connection.until_closed()

    async with serving(explode) as store:
        tracemalloc.start()
        try:
            with pytest.raises(ThrottledError, match="503 SlowDown"):
                await make_sender().put(make_asset(100), Segment(1, 0, 100), store.url(), ignore)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < MEMORY_BYTES


async def test_a_look_at_an_object_reads_nothing_of_it() -> None:
    """A store that refuses HEAD is asked for one byte, and may send more."""

    async def explode(connection: Connection) -> None:
        while True:
            request = await connection.head()
            if request.line.startswith("HEAD"):
                await connection.answer(403)
            else:
                await connection.answer(200, BOMB, Content_Encoding="gzip", ETag='"abc"')

    async with serving(explode) as store, aiohttp.ClientSession() as session:
        tracemalloc.start()
        try:
            facts = await probe_object(session, store.url(), timeout_seconds=5)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert facts is not None
    assert facts.etag == "abc"
    assert peak < MEMORY_BYTES


async def test_an_etag_that_is_not_utf8_can_be_kept(make_asset: MakeAsset, make_sender: MakeSender) -> None:
    """The journal would not take half a character, and the segment would be sent for ever."""

    async def store_it(connection: Connection) -> None:
        request = await connection.head()
        if request.line.startswith("PUT"):
            await connection.take_all(request)
        await connection.send(
            b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "caf\xe9"\r\nx-obs-request-id: R\x9b\r\n\r\n'
        )

    async with serving(store_it) as store:
        receipt = await make_sender().put(make_asset(100), Segment(1, 0, 100), store.url(), ignore)
    async with serving(store_it) as store, aiohttp.ClientSession() as session:
        facts = await probe_object(session, store.url(), timeout_seconds=5)

    assert receipt.etag == "caf\ufffd"
    assert receipt.request_id is None
    assert facts is not None
    assert facts.etag == "caf\ufffd"
