"""Connections that do not come about: nothing was sent, and it is known."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import ConfigurationError, NotSentError
from orchestrator.network.http_session import open_http_session
from tests.transfer.conftest import Failure, MakeAsset, MakeSender, ignore
from tests.transfer.store import Connection, serving, store_it

SMALL = 1000
WHOLE = Segment(1, 0, SMALL)


async def never_read(connection: Connection) -> None:
    """Accept, and read nothing."""
    await anyio.sleep_forever()


async def test_a_refused_connection_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """Nobody listens: provably not sent."""
    asset = make_asset(SMALL)
    async with serving(store_it) as store:
        url = store.url()

    error = await failure(make_sender().put(asset, WHOLE, url, ignore))

    assert isinstance(error, NotSentError)
    assert "refused" in error.message.lower()


async def test_a_connection_that_never_gets_ready_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A TLS handshake without an answer ends with the connect timeout."""
    asset = make_asset(SMALL)

    async with serving(never_read) as store:
        store.scheme = "https"
        error = await failure(make_sender().put(asset, WHOLE, store.url(), ignore))

    assert isinstance(error, NotSentError)


class Resolver(AbstractResolver):
    """Knows store.test and nothing else."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer without any traffic."""
        if host != "store.test":
            raise OSError(errno.ENOENT, "Name or service not known")
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Hold nothing."""


async def test_a_name_that_cannot_be_resolved_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """DNS failures are told apart from refused connections."""
    asset = make_asset(SMALL)

    async with serving(store_it) as store, aiohttp.ClientSession(connector=_resolving()) as session:
        sender = make_sender(session=session, is_insecure_http_allowed=True)
        error = await failure(sender.put(asset, WHOLE, store.url(host="nowhere.test"), ignore))

    assert isinstance(error, NotSentError)
    assert "cannot be resolved" in error.message


def _resolving() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(resolver=Resolver())


async def test_plain_http_is_for_loopback_unless_allowed(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A URL that would travel readable is refused before anything is sent."""
    asset = make_asset(SMALL)

    async with serving(store_it) as store, aiohttp.ClientSession(connector=_resolving()) as session:
        url = store.url(host="store.test")
        error = await failure(make_sender(session=session).put(asset, WHOLE, url, ignore))
        assert store.connections == 0
        sender = make_sender(session=session, is_insecure_http_allowed=True)
        receipt = await sender.put(asset, WHOLE, url, ignore)

    assert isinstance(error, ConfigurationError)
    assert receipt.is_verified


async def test_an_untrusted_certificate_is_a_configuration_error_with_a_hint(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, server_tls: ssl.SSLContext
) -> None:
    """Trying again would not help, for this segment nor for any other: a person must look."""
    asset = make_asset(SMALL)

    async with serving(store_it, server_tls) as store:
        url = store.url(host="localhost")
        error = await failure(make_sender().put(asset, WHOLE, url, ignore))

    assert isinstance(error, ConfigurationError)
    assert "certificate" in error.message
    assert error.hint is not None
    assert store.requests == []


class MovingResolver(Resolver):
    """Gives for store.test each of *addresses* once, then the last one again."""

    def __init__(self, addresses: list[str]) -> None:
        """Give the first address next."""
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer without any traffic."""
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        found = await super().resolve(host, port, family)
        return [ResolveResult(**{**each, "host": address}) for each in found]


async def test_a_store_that_moved_is_looked_for_at_its_new_address(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """The address at which no connection comes about is forgotten, however long the cache would keep it."""
    asset = make_asset(SMALL)
    resolver = MovingResolver(["127.0.0.2", "127.0.0.1"])
    connector = aiohttp.TCPConnector(resolver=resolver, ttl_dns_cache=300)

    async with serving(store_it) as store, aiohttp.ClientSession(connector=connector) as session:
        sender = make_sender(session=session, is_insecure_http_allowed=True)
        error = await failure(sender.put(asset, WHOLE, store.url(host="store.test"), ignore))
        receipt = await sender.put(asset, WHOLE, store.url(host="store.test"), ignore)

    assert isinstance(error, NotSentError)
    assert receipt.is_verified


@pytest.mark.parametrize("status", [403, 407])
async def test_a_proxy_that_refuses_is_a_configuration_error(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    failure: Failure,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """It would refuse every other segment as well."""
    asset = make_asset(SMALL)

    async def refuse(connection: Connection) -> None:
        await connection.head()
        await connection.answer(status)

    async with serving(refuse) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        proxy.scheme = "https"
        async with open_http_session() as session:
            url = proxy.url(host="store.test")
            error = await failure(make_sender(session=session).put(asset, WHOLE, url, ignore))

    assert isinstance(error, ConfigurationError)
    assert "HTTPS_PROXY" in (error.hint or "")


async def test_tls_to_a_server_without_it_sends_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """A failed handshake is no connection."""
    asset = make_asset(SMALL)

    async def answer_plainly(connection: Connection) -> None:
        await connection.reader.read(10)
        await connection.answer(400)

    async with serving(answer_plainly) as store:
        store.scheme = "https"
        error = await failure(make_sender().put(asset, WHOLE, store.url(), ignore))

    assert isinstance(error, NotSentError)
    assert "TLS" in error.message
