"""Which calls share a connection: one that the other side has just closed loses what is sent on it."""

from __future__ import annotations

import random
import time

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.engine.service_connection import Clocks, connect
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.metastudio.rate_limit import ApiRate
from orchestrator.metastudio.wire import Command, JobQuery
from tests.rig import service_settings

CLOCKS = Clocks(
    clock=time.time,
    monotonic=time.monotonic,
    sleep=anyio.sleep,
    draw=random.random,
    nonce=lambda: "nonce",
)


class Ports:
    """A service that says yes, and notes by method which of our connections each call came on."""

    def __init__(self) -> None:
        """Nothing was called yet."""
        self.of_writes: list[int] = []
        self.of_reads: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        """Answer any call."""
        assert request.transport is not None
        ports = self.of_reads if request.method == "GET" else self.of_writes
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.json_response({"job_id": "j", "jobs": [], "count": 0, "commond_result": "EXCUTE_SUCCESS"})


async def test_a_call_that_may_not_be_repeated_has_a_fresh_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Create, confirm and submit follow each other on one, but never after it was idle for a second."""
    now = 1000.0
    monkeypatch.setattr("aiohttp.connector.monotonic", lambda: now)
    ports = Ports()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", ports.answer)
    async with TestServer(application) as server:
        settings = service_settings(
            endpoint=f"http://127.0.0.1:{server.port}",
            project_id="p",
            credentials=FoundCredentials(secret=Credentials("ak", "sk"), source="the test", project_id=None),
            api_rate=ApiRate(0.0, 0.0),
        )
        async with connect(settings, CLOCKS, reader_threads=1) as connection:
            for idle_seconds in (0.0, 0.9, 1.1):
                now += idle_seconds
                await connection.client.list_jobs(JobQuery())
                await connection.client.create_job({})
                await connection.client.command("j", Command.SUBMITVERIFYING)

    first, last = ports.of_writes[0], ports.of_writes[-1]
    assert ports.of_writes == [first] * 4 + [last] * 2
    assert first != last
    assert len(set(ports.of_reads)) == 1
    assert not set(ports.of_writes) & set(ports.of_reads)
