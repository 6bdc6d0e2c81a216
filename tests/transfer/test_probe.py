"""Looking at an object by its download URL: only where no one between can read it, and only there."""

from __future__ import annotations

import aiohttp
import pytest

from orchestrator.domain.evidence import ObjectFacts
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.transfer.answer import probe_object
from tests.transfer.store import Connection, serving


class Resolver(aiohttp.abc.AbstractResolver):
    """Finds every name on this machine, and keeps what was asked for."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        """Always here."""
        self.asked.append(host)
        found = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": self.port,
            "family": 2,
            "proto": 0,
            "flags": 0,
        }
        return [aiohttp.abc.ResolveResult(**found)]  # type: ignore[typeddict-item]  # the keys are all there

    async def close(self) -> None:
        """Nothing is open."""


async def has_it(connection: Connection) -> None:
    """The conduct of a store that has the object."""
    while True:
        await connection.head()
        await connection.send(
            b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nETag: "abc"\r\nx-obs-request-id: R\r\n\r\n'
        )


async def sends_on(connection: Connection) -> None:
    """The conduct of a store that redirects to another host."""
    while True:
        await connection.head()
        await connection.answer(302, Location=f"http://127.0.0.2:{connection.store.port}/o")


@pytest.mark.parametrize(("is_allowed", "requests"), [(False, 0), (True, 1)])
async def test_a_download_url_over_http_is_asked_only_where_a_person_allows_it(
    is_allowed: bool, requests: int
) -> None:
    """The same rule as for upload URLs: the URL itself is the secret that would travel readable."""
    async with serving(has_it) as store:
        resolver = Resolver(store.port)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session:
            facts = await probe_object(
                session,
                PresignedUrl("http://store.example/o?Signature=abc"),
                timeout_seconds=5,
                is_insecure_http_allowed=is_allowed,
            )

        assert len(store.requests) == len(resolver.asked) == requests
        assert facts == (ObjectFacts(7, "abc") if is_allowed else None)


async def test_on_this_machine_http_is_private() -> None:
    """The simulator's URLs are."""
    async with serving(has_it) as store, aiohttp.ClientSession() as session:
        assert await probe_object(session, store.url(), timeout_seconds=5) == ObjectFacts(7, "abc")


async def test_a_download_url_is_never_followed_elsewhere() -> None:
    """A redirect says nothing about the object."""
    async with serving(sends_on) as store, aiohttp.ClientSession() as session:
        assert await probe_object(session, store.url(), timeout_seconds=5) is None
        assert all(request.line.startswith(("HEAD /bucket", "GET /bucket")) for request in store.requests)


MD5 = "0123456789abcdef0123456789abcdef"


async def facts_of(headers: dict[str, str], *, status: int = 200) -> ObjectFacts | None:
    """What is learned of an object whose HEAD is answered with *headers*."""

    async def conduct(connection: Connection) -> None:
        while True:
            await connection.head()
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            await connection.send(f"HTTP/1.1 {status} Any\r\n{lines}\r\n".encode())

    async with serving(conduct) as store, aiohttp.ClientSession() as session:
        return await probe_object(session, store.url(), timeout_seconds=5)


@pytest.mark.parametrize("etag", [f'"{MD5}"', f'W/"{MD5}"', f'w/"{MD5.upper()}"', MD5])
async def test_an_etag_is_the_same_however_it_is_dressed(etag: str) -> None:
    """A gateway that compresses marks ETags as weak; the bytes are the same."""
    assert await facts_of({"Content-Length": "7", "ETag": etag}) == ObjectFacts(7, MD5)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "7"},
        {"Content-Length": "7", "ETag": '""'},
        {"Content-Length": "512", "ETag": f'"{MD5}"', "Content-Type": "text/html; charset=utf-8"},
        {"Content-Length": "16", "x-obs-request-id": "R1", "Content-Type": "application/problem+json"},
    ],
)
async def test_what_something_in_between_answers_says_nothing_of_the_object(headers: dict[str, str]) -> None:
    """No mark of a store, or a page: its length is not that of a file."""
    assert await facts_of(headers) is None
