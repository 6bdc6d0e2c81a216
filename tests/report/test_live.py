"""The live page: what its stream says, who may read it, and that nothing stops it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.domain.states import EntryState
from orchestrator.journal.records import EntryRecord, ErrorRecord
from orchestrator.report.document import ReportData, report_data
from orchestrator.report.live import MOST_UNREAD, EventTail, LivePage, PageAddress, changed_parts, is_loopback
from tests.report.test_page import NOON, entry, facts


def data_of(*entries: EntryRecord, now: float = NOON) -> ReportData:
    return report_data(facts(*entries), now=now, options="")


@asynccontextmanager
async def served(live: LivePage, token: str | None = None) -> AsyncIterator[str]:
    """The URL at which *live* is served."""
    address = PageAddress(host="127.0.0.1", port=0, token=token)
    runner = web.AppRunner(live.application(address), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address.host, 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}{address.prefix}/"
    await runner.cleanup()


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event of a stream."""
    while (line := await response.content.readline()) != b"event: change\n":
        assert line, "the stream has ended"
    data = await response.content.readline()
    return json.loads(data.removeprefix(b"data: "))  # type: ignore[no-any-return]


async def test_a_page_gets_everything_and_then_what_changed() -> None:
    """Also one that comes back: it may have missed anything."""
    states = [
        data_of(entry(0), entry(1)),
        data_of(entry(0), entry(1, EntryState.FAILED, error=ErrorRecord("x", None, "no", None, None))),
    ]

    async def read() -> ReportData:
        return states[0] if len(states) == 1 else states.pop(0)

    live = LivePage(read, EventTail())
    await live.read()
    async with served(live) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as page:
            assert "stream" in await page.text()
            assert page.headers["Cache-Control"] == "no-store"
        async with session.get(f"{url}stream") as stream:
            whole = await next_event(stream)
            await live.read()
            change = await next_event(stream)
        async with session.get(f"{url}stream") as stream:
            again = await next_event(stream)

    assert whole["is_whole"]
    assert [row[0] for row in whole["rows"]] == ["e0", "e1"]
    assert [row[0] for row in change["rows"]] == ["e1"]
    assert "orchestrator retry" in change["cards"]
    assert "night" not in change
    assert again["rows"][1] == change["rows"][0]


async def test_pictures_come_when_they_are_made() -> None:
    """The page is open long before."""

    async def read() -> ReportData:
        return data_of(entry(0))

    live = LivePage(read, EventTail())
    await live.read()
    async with served(live) as url, aiohttp.ClientSession() as session, session.get(f"{url}stream") as stream:
        assert (await next_event(stream))["pictures"] == {}
        live.show_pictures({"e0": "/9j/"})
        assert (await next_event(stream))["pictures"] == {"e0": "/9j/"}
    assert '"e0":"/9j/"' in live.page(is_live=False)
    assert '"stream":null' in live.page(is_live=False)


async def test_a_page_that_reads_too_slowly_is_cut_off_and_gets_everything_when_it_is_back() -> None:
    """What waits for it would fill the memory of the server."""

    async def read() -> ReportData:
        return data_of(entry(0))

    live = LivePage(read, EventTail())
    await live.read()
    async with served(live) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}stream") as stream:
            await next_event(stream)
            for _ in range(MOST_UNREAD + 5):
                live.show_pictures({"e0": "/9j/"})
            rest = await stream.content.read()
        async with session.get(f"{url}stream") as stream:
            again = await next_event(stream)

    assert rest.count(b"event: change") < MOST_UNREAD + 5
    assert again["is_whole"]
    assert again["pictures"] == {"e0": "/9j/"}


async def test_with_a_token_no_other_path_leads_anywhere() -> None:
    """A wrong one is answered as one that is missing."""

    async def read() -> ReportData:
        return data_of(entry(0))

    live = LivePage(read, EventTail())
    await live.read()
    async with served(live, token="secret-token") as url, aiohttp.ClientSession() as session:
        root = url.removesuffix("secret-token/")
        statuses = {}
        for path in ("", "stream", "wrong/", "wrong/stream", "s\u00e9cret/", "secret-token/"):
            async with session.get(f"{root}{path}") as answer:
                statuses[path] = answer.status

    assert statuses.pop("secret-token/") == 200
    assert set(statuses.values()) == {404}


async def test_a_name_of_another_site_that_leads_here_is_refused() -> None:
    """Its scripts would read the page."""

    async def read() -> ReportData:
        return data_of(entry(0))

    live = LivePage(read, EventTail())
    await live.read()
    async with served(live) as url, aiohttp.ClientSession() as session:
        async with session.get(url, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
        async with session.get(url, headers={"Host": "localhost:8787"}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("studio", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, *, expected: bool) -> None:
    """Anything else needs the token."""
    assert is_loopback(host) is expected


def test_that_time_has_passed_is_no_change() -> None:
    """An idle batch costs an open page nothing."""
    assert changed_parts(data_of(entry(0)), data_of(entry(0), now=NOON + 5)) == {}


def test_an_entry_that_is_no_longer_there_makes_the_page_begin_again() -> None:
    """The manifest has it no more."""
    parts = changed_parts(data_of(entry(0), entry(1)), data_of(entry(1)))

    assert parts["is_whole"]
    assert [row[0] for row in parts["rows"]] == ["e1"]
