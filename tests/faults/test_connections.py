"""Which calls share a connection: one that the other side has just closed loses what is sent on it."""

from __future__ import annotations

import random
import time

import anyio
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.engine.connection import Clocks, ServiceSettings, connect
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.metastudio.limiter import ApiRate
from orchestrator.metastudio.requests import Command, JobQuery

CLOCKS = Clocks(
    clock=time.time,
    monotonic=time.monotonic,
    sleep=anyio.sleep,
    draw=random.random,
    nonce=lambda: "nonce",
)


async def test_a_call_that_may_not_be_repeated_has_a_connection_of_its_own() -> None:
    """Create, confirm and submit never meet a connection that was used before; reads share theirs."""
    ports: dict[str, list[int]] = {"POST": [], "GET": []}

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports[request.method].append(request.transport.get_extra_info("peername")[1])
        return web.json_response({"job_id": "j", "jobs": [], "count": 0, "commond_result": "EXCUTE_SUCCESS"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        settings = ServiceSettings(
            endpoint=f"http://127.0.0.1:{server.port}",
            project_id="p",
            credentials=FoundCredentials(secret=Credentials("ak", "sk"), source="the test", project_id=None),
            api_rate=ApiRate(0.0, 0.0),
        )
        async with connect(settings, CLOCKS, reader_threads=1) as connection:
            for command in (Command.CONFIRM_MULTIPART_UPLOADED, Command.SUBMITVERIFYING):
                await connection.client.list_jobs(JobQuery())
                await connection.client.create_job({})
                await connection.client.command("j", command)

    assert len(set(ports["POST"])) == 4
    assert len(set(ports["GET"])) == 1
    assert not set(ports["POST"]) & set(ports["GET"])
