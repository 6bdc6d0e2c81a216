"""Redirects: at most once, never to another host."""

from __future__ import annotations

import hashlib

import pytest

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import RequestRejectedError
from tests.transfer.conftest import Failure, MakeAsset, MakeSender, content_of, ignore
from tests.transfer.store import Conduct, Connection, serving, store_it

WHOLE = Segment(1, 0, 1000)


def redirect(status: int, location: str, times: int = 1) -> Conduct:
    """Redirect the first requests, store what comes after."""

    async def conduct(connection: Connection) -> None:
        while len(connection.store.requests) < times:
            await connection.request()
            await connection.answer(status, Location=location)
        await store_it(connection)

    return conduct


async def test_a_temporary_redirect_on_the_same_host_is_followed(
    make_asset: MakeAsset, make_sender: MakeSender
) -> None:
    """The segment is sent again, whole and hashed afresh, to the address as it was given."""
    asset = make_asset(1000)

    async with serving(redirect(307, "/elsewhere?Signature=a%2Fb")) as store:
        receipt = await make_sender().put(asset, WHOLE, store.url(), ignore)

    assert receipt.md5 == hashlib.md5(content_of(asset)).hexdigest()
    assert receipt.is_verified
    assert store.requests[1].line == "PUT /elsewhere?Signature=a%2Fb HTTP/1.1"
    assert bytes(store.requests[1].body) == content_of(asset)


@pytest.mark.parametrize(("status", "times"), [(307, 2), (301, 1), (302, 1), (303, 1)])
async def test_other_redirects_are_refused(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, status: int, times: int
) -> None:
    """A second redirect, or one that is not temporary, is for a person to look at."""
    asset = make_asset(1000)

    async with serving(redirect(status, "/elsewhere", times=9)) as store:
        error = await failure(make_sender().put(asset, WHOLE, store.url(), ignore))

    assert isinstance(error, RequestRejectedError)
    assert error.status == status
    assert len(store.requests) == times


@pytest.mark.parametrize("status", [301, 307])
async def test_another_host_gets_nothing(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, status: int
) -> None:
    """Neither the file nor the URL reaches a host the service did not name; another port is another host."""
    asset = make_asset(1000)

    async with serving(store_it) as other:
        location = other.url().reveal()
        async with serving(redirect(status, location)) as store:
            error = await failure(make_sender().put(asset, WHOLE, store.url(), ignore))

    assert isinstance(error, RequestRejectedError)
    assert "another host" in error.message
    assert other.connections == 0
