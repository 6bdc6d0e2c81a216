"""What is wrong in the settings: the run ends with 4 at the first entry, and no entry fails for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from orchestrator.domain.errors import ConfigurationError, ExitCode
from orchestrator.domain.states import EntryState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.conftest import Trial

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

NO_SUCH_API = {"error_code": "APIGW.0101", "error_msg": "The API does not exist or has not been published"}
WRONG_URL = {"error_code": "MSS.00010003", "error_msg": "SR.api not found"}


def _json(status: int, body: dict[str, str]) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


def _page(status: int) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>no such page</html>", content_type="text/html")

    return answer


@asynccontextmanager
async def _serving(answer: Answer, requests: list[str]) -> AsyncIterator[str]:
    async def counted(request: web.Request) -> web.StreamResponse:
        requests.append(f"{request.method} {request.path}")
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", counted)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (_json(404, NO_SUCH_API), "--endpoint"),
        (_json(400, WRONG_URL), "--endpoint"),
        (_page(404), "--endpoint"),
        (_page(302), "--endpoint"),
        (_page(407), "HTTPS_PROXY"),
    ],
    ids=["no such API", "wrong URL", "another server", "redirect", "proxy wants credentials"],
)
async def test_a_wrong_setting_ends_the_run_at_the_first_entry(
    trial: Trial, answer: Answer, named: str
) -> None:
    """Exit 4 with what to check; nothing is tried twice, and no entry counts as failed."""
    trial.rig.make_entries(4, size=200_000)
    trial.rig.settings = replace(trial.rig.settings, jobs=1)
    requests: list[str] = []
    async with _serving(answer, requests) as endpoint:
        trial.rig.service = {**trial.rig.service, "endpoint": endpoint}

        report = await trial.run()

    assert report.exit_code == ExitCode.CONFIGURATION
    assert isinstance(report.cause, ConfigurationError)
    assert named in (report.cause.hint or "")
    assert len(requests) == 1
    assert report.entries.failed == 0
    states = {record.state for record in (await trial.rig.entries()).values()}
    assert EntryState.FAILED not in states
