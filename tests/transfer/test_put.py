"""A segment that arrives: what is on the wire, and the receipt."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tracemalloc
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from orchestrator.domain.assets import AssetKind, Segment, plan_segments
from orchestrator.domain.errors import UnmarkedAnswerError
from orchestrator.network.http_session import open_http_session
from tests.transfer.conftest import EVERY_BODY, Body, MakeAsset, MakeSender, asset_at, content_of, ignore
from tests.transfer.store import SECRET, Connection, serving, store_it

MIB = 1024 * 1024


@pytest.fixture
def a_netrc_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give the user credentials for every host, which signed requests must not carry."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))


@pytest.mark.usefixtures("a_netrc_file")
@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        (AssetKind.TRAINING_VIDEO, "application/octet-stream"),
        (AssetKind.COVER, "application/octet-stream"),
        (AssetKind.AUDIO, "application/zip"),
    ],
)
async def test_the_request_carries_the_signed_headers_and_no_others(
    make_asset: MakeAsset, make_sender: MakeSender, kind: AssetKind, content_type: str
) -> None:
    """The URL goes out byte for byte, and not even a netrc file adds a header."""
    asset = make_asset(100, kind)

    async with serving(store_it) as store:
        await make_sender().put(asset, Segment(1, 0, 100), store.url(), ignore)

    request = store.requests[0]
    path = "/bucket/film%20one?AccessKeyId=AK&Expires=4102444800"
    assert request.line == f"PUT {path}&Signature={SECRET}&partNumber=1&uploadId=0a+b HTTP/1.1"
    assert sorted(request.headers) == [
        ("Content-Length", "100"),
        ("Content-Type", content_type),
        ("Host", f"127.0.0.1:{store.port}"),
    ]


@EVERY_BODY
@pytest.mark.parametrize("length", [0, 1, MIB // 4, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 5 * MIB + 7])
async def test_every_byte_of_the_range_arrives_and_is_hashed(
    make_asset: MakeAsset, make_sender: MakeSender, body: Body, length: int
) -> None:
    """Body, MD5 and progress are right at the borders of spans, in the middle of a file."""
    asset = make_asset(length + 30)
    expected = content_of(asset)[10 : 10 + length]
    progress: list[int] = []

    async with serving(store_it) as store:
        receipt = await make_sender().put(asset, Segment(2, 10, length), store.url(), progress.append)

    assert bytes(store.requests[0].body) == expected
    assert receipt.etag == hashlib.md5(expected).hexdigest()
    assert receipt.md5 == (receipt.etag if body.is_hashed else None)
    assert receipt.is_verified == body.is_hashed
    assert receipt.request_id == "R1"
    assert sum(progress) == length


async def test_segments_sent_at_once_over_tls_make_the_whole_file(
    make_asset: MakeAsset, make_sender: MakeSender, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Parallel segments of one file keep their own offsets and hashes."""
    asset = make_asset(5 * MIB + 11)
    content = content_of(asset)
    receipts = {}

    async with serving(store_it, server_tls) as store, open_http_session(ssl_context=client_tls) as session:
        sender = make_sender(session=session)

        async def send(segment: Segment) -> None:
            url = store.url(host="localhost")
            receipts[segment.part_number] = await sender.put(asset, segment, url, ignore)

        async with anyio.create_task_group() as group:
            for segment in plan_segments(asset.size, 4):
                group.start_soon(send, segment)

    for segment in plan_segments(asset.size, 4):
        piece = content[segment.offset : segment.offset + segment.length]
        assert receipts[segment.part_number].md5 == hashlib.md5(piece).hexdigest()
        assert receipts[segment.part_number].is_verified


async def test_without_verification_no_digest_is_made(make_asset: MakeAsset, make_sender: MakeSender) -> None:
    """With `--verify off` the receipt keeps the ETag and claims nothing."""
    asset = make_asset(1000)

    async with serving(store_it) as store:
        sender = make_sender(is_verifying=False)
        receipt = await sender.put(asset, Segment(1, 0, 1000), store.url(), ignore)

    assert receipt.md5 is None
    assert not receipt.is_verified
    assert receipt.etag == hashlib.md5(content_of(asset)).hexdigest()


async def test_connections_are_reused(make_asset: MakeAsset, make_sender: MakeSender) -> None:
    """Segments that follow each other share one connection."""
    asset = make_asset(3 * MIB)

    async with serving(store_it) as store:
        sender = make_sender()
        for segment in plan_segments(asset.size, 3):
            await sender.put(asset, segment, store.url(), ignore)

    assert store.connections == 1


@EVERY_BODY
async def test_pacing_may_take_longer_than_the_idle_timeout(
    make_asset: MakeAsset, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte goes without leave, and waiting for leave is no stall."""
    asset = make_asset(3 * MIB)
    granted: list[int] = []
    loop = asyncio.get_running_loop()
    real_time, waited = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + waited)

    async def pace(wanted: int) -> int:
        nonlocal waited
        assert connection_bytes() <= sum(granted)
        # The watchdog looks after each step, of which two are more than the timeout.
        for _ in range(4):
            waited += 20.0
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
        granted.append(min(wanted, 900_000))
        return granted[-1]

    async with serving(store_it) as store:

        def connection_bytes() -> int:
            return sum(len(request.body) for request in store.requests)

        sender = make_sender(idle_timeout=30.0)
        await sender.put(asset, Segment(1, 0, 3 * MIB), store.url(), ignore, pace)

    assert bytes(store.requests[0].body) == content_of(asset)
    assert sum(granted) == 3 * MIB


@EVERY_BODY
async def test_memory_does_not_grow_with_the_segment(make_sender: MakeSender, tmp_path: Path) -> None:
    """A segment of 96 MiB takes a few pieces of memory."""
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(96 * MIB)

    async def swallow(connection: Connection) -> None:
        request = await connection.head()
        left = request.length
        while left:
            left -= len(await connection.reader.read(65536))
        await connection.answer(200, x_obs_request_id="R1")

    async with serving(swallow) as store:
        sender = make_sender()
        tracemalloc.start()
        try:
            await sender.put(asset_at(path), Segment(1, 0, 96 * MIB), store.url(), ignore)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak < 8 * MIB


@pytest.mark.parametrize("body", [Body.HASHED, Body.LONE_HASHED_SENDFILE])
async def test_digest_is_that_of_the_range(make_asset: MakeAsset, make_sender: MakeSender) -> None:
    """The digest of a segment can be had without sending it."""
    asset = make_asset(5 * MIB)

    digest = await make_sender().digest(asset, Segment(1, 3, 4 * MIB + 5))

    assert digest == hashlib.md5(content_of(asset)[3 : 3 + 4 * MIB + 5]).hexdigest()


async def test_requests_go_through_the_proxy_of_the_environment(
    make_asset: MakeAsset, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`http_proxy` and its credentials are used, but not for hosts in `no_proxy`."""
    asset = make_asset(10)

    async with serving(store_it) as proxy, serving(store_it) as store:
        monkeypatch.setenv("http_proxy", f"http://user:word@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with open_http_session() as session:
            sender = make_sender(session=session, is_insecure_http_allowed=True)
            await sender.put(asset, Segment(1, 0, 10), store.url(host="store.test"), ignore)
            await sender.put(asset, Segment(1, 0, 10), store.url(), ignore)

    assert proxy.requests[0].line.startswith(f"PUT http://store.test:{store.port}/bucket/")
    assert ("Proxy-Authorization", "Basic dXNlcjp3b3Jk") in proxy.requests[0].headers
    assert len(proxy.requests) == len(store.requests) == 1


async def relay(connection: Connection) -> None:
    """The conduct of a proxy: connect to the port that is asked for, and hand on what comes from either side."""
    request = await connection.head()
    port = int(request.line.split()[1].rpartition(":")[2])
    await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
    async with await anyio.connect_tcp("127.0.0.1", port) as store, anyio.create_task_group() as both:

        async def hand_back() -> None:
            async for data in store:
                await connection.send(data)

        both.start_soon(hand_back)
        while data := await connection.reader.read(65536):
            await store.send(data)
        both.cancel_scope.cancel()


@pytest.mark.parametrize("is_proxy_encrypted", [False, True])
async def test_encrypted_requests_go_through_the_proxy_of_the_environment(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    monkeypatch: pytest.MonkeyPatch,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    *,
    is_proxy_encrypted: bool,
) -> None:
    """The proxy sees a name and nothing else, whether it is spoken to by TLS itself or not."""
    asset = make_asset(5 * MIB)
    scheme, proxy_tls = ("https", server_tls) if is_proxy_encrypted else ("http", None)

    async with serving(relay, proxy_tls) as proxy, serving(store_it, server_tls) as store:
        monkeypatch.setenv("https_proxy", f"{scheme}://localhost:{proxy.port}")
        async with open_http_session(ssl_context=client_tls) as session:
            url = store.url(host="store.test")
            receipt = await make_sender(session=session).put(asset, Segment(1, 0, asset.size), url, ignore)

    assert [request.line for request in proxy.requests] == [f"CONNECT store.test:{store.port} HTTP/1.1"]
    assert bytes(store.requests[0].body) == content_of(asset)
    assert receipt.is_verified


async def failure_of(
    make_asset: MakeAsset, make_sender: MakeSender, status: int, body: bytes, **headers: str
) -> UnmarkedAnswerError:
    """What a PUT that is answered with *status*, *body* and *headers* ends with."""

    async def conduct(connection: Connection) -> None:
        await connection.request()
        await connection.answer(status, body, **headers)

    async with serving(conduct) as store:
        with pytest.raises(UnmarkedAnswerError) as caught:
            await make_sender().put(make_asset(100), Segment(1, 0, 100), store.url(), ignore)
    assert caught.value.is_body_sent
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_success_without_a_mark_of_the_store_is_worth_no_more_than_a_hint(
    make_asset: MakeAsset, make_sender: MakeSender, status: int
) -> None:
    """Neither ETag nor request id: who said it is not known, so what it is worth is for others to judge."""
    error = await failure_of(make_asset, make_sender, status, b"", Server="nginx", ETag='""')

    assert error.receipt is not None
    assert not error.receipt.evidence.is_proof
    assert not error.receipt.is_verified
    assert error.receipt.md5 is not None


@pytest.mark.parametrize(
    ("page", "headers"),
    [
        (b"<!DOCTYPE html><p>Sign in", {}),
        (b"  <html><body>", {"Content_Type": "application/octet-stream"}),
        (b'{"status": "ok"}', {}),
        (b"[]", {}),
        (b"Sign in", {"Content_Type": "text/html; charset=utf-8"}),
        (b"\x1f\x8b", {"Content_Type": "application/json"}),
        (b"ok", {"Content_Type": "application/problem+json"}),
    ],
)
async def test_a_page_or_a_document_is_not_the_stores_whatever_else_it_has(
    make_asset: MakeAsset, make_sender: MakeSender, page: bytes, headers: dict[str, str]
) -> None:
    """Web servers put ETags on their pages as well, and gateways request ids on all they pass on."""
    marks = {"ETag": '"5f3c-1a2b"', "x_obs_request_id": "R1"}

    error = await failure_of(make_asset, make_sender, 200, page, **marks, **headers)

    assert error.receipt is None


@pytest.mark.parametrize("mark", ["ETag", "x_obs_request_id", "x_amz_request_id"])
async def test_one_mark_of_the_store_is_enough(
    make_asset: MakeAsset, make_sender: MakeSender, mark: str
) -> None:
    """The content type of an answer without a body means nothing."""

    async def conduct(connection: Connection) -> None:
        await connection.request()
        await connection.answer(200, Content_Type="text/html", **{mark: '"opaque"'})

    async with serving(conduct) as store:
        receipt = await make_sender().put(make_asset(100), Segment(1, 0, 100), store.url(), ignore)

    assert receipt.evidence.is_proof


@pytest.mark.parametrize("dress", ['"{}"', 'W/"{}"', 'w/"{}"', "{}"])
async def test_a_weak_etag_is_compared_as_any_other(
    make_asset: MakeAsset, make_sender: MakeSender, dress: str
) -> None:
    """A gateway that compresses or rewrites answers marks their ETags as weak."""

    async def conduct(connection: Connection) -> None:
        request = await connection.request()
        await connection.answer(200, ETag=dress.format(hashlib.md5(request.body).hexdigest()))

    async with serving(conduct) as store:
        receipt = await make_sender().put(make_asset(100), Segment(1, 0, 100), store.url(), ignore)

    assert receipt.is_verified
