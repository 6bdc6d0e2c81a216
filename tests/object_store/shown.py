"""Reading back what a simulated service shows of its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
from yarl import URL

from orchestrator.simulator import Simulator
from orchestrator.simulator.links import ASSETS
from tests.rig import Rig


async def assert_stored(rig: Rig, entries: Iterable[Mapping[str, Any]]) -> None:
    """One job for each entry, and under every download URL a file of it, neither more nor less."""
    jobs = rig.jobs_by_name()
    async with aiohttp.ClientSession() as session:
        for entry in entries:
            (job,) = jobs[entry["name"]]
            shown = await objects_shown(rig.simulator, session, job.job_id)
            files = {
                asset.kind: (rig.folder / entry[asset.kind]).read_bytes()
                for asset in ASSETS
                if asset.kind in entry
            }
            assert shown.keys() == files.keys(), entry["id"]
            for kind, content in files.items():
                assert shown[kind] == content, (entry["id"], kind)


async def objects_shown(
    simulator: Simulator, session: aiohttp.ClientSession, job_id: str
) -> dict[str, bytes]:
    """Fetch, by kind, everything that show has a download URL for."""
    _, document = await call(simulator, session, "GET", f"/{job_id}")
    objects = {}
    for asset in ASSETS:
        if asset.download_field in document:
            async with session.get(URL(document[asset.download_field], encoded=True)) as answer:
                assert answer.status == 200
                objects[asset.kind] = await answer.read()
    return objects


async def call(
    simulator: Simulator,
    session: aiohttp.ClientSession,
    method: str,
    path: str = "",
    body: Mapping[str, Any] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Ask for a job, or all of them; return the status and the document."""
    options = simulator.options
    jobs = f"{simulator.endpoint}/v1/{options.project_id}/digital-human-training-manage/user/jobs"
    headers = {"X-Auth-Token": options.token}
    async with session.request(method, jobs + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()
