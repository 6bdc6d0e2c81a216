"""A simulator per test, and a client that knows nothing but HTTP."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from orchestrator.simulator import JobView, Simulator, SimulatorOptions

OCTET_STREAM = "application/octet-stream"


class FakeClock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_795_420_800.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]


class Client:
    """Calls one simulator with its static token."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, clock: FakeClock) -> None:
        self.simulator = simulator
        self.clock = clock
        self._session = session
        self.jobs_url = (
            f"{simulator.endpoint}/v1/{simulator.options.project_id}/digital-human-training-manage/user/jobs"
        )

    async def request(self, method: str, url: str, **keywords: Any) -> Answer:
        async with self._session.request(
            method, URL(url, encoded=True), allow_redirects=False, **keywords
        ) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, headers, await answer.read())

    async def call(self, method: str, path: str = "", body: Any = None) -> Answer:
        headers = {"X-Auth-Token": self.simulator.options.token}
        return await self.request(method, self.jobs_url + path, json=body, headers=headers)

    async def create(self, **fields: Any) -> dict[str, Any]:
        answer = await self.call("POST", body={"name": "anna", **fields})
        assert answer.status == 200, answer.body
        return answer.document

    async def command(self, job_id: str, command: str) -> dict[str, Any]:
        answer = await self.call("POST", f"/{job_id}/command", {"command": command})
        assert answer.status == 200, answer.body
        return answer.document

    async def put(self, url: str, body: bytes, content_type: str = OCTET_STREAM) -> Answer:
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        return await self.request("PUT", url, data=io.BytesIO(body), headers=headers)

    async def raw_put(self, url: str, head: str, body: bytes, *, is_cut: bool = False) -> bytes:
        """Send bytes as they are, hang up at once if *is_cut*, and return what comes until the end."""
        split = urlsplit(url)
        reader, writer = await asyncio.open_connection(split.hostname, split.port)
        start = f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: {split.netloc}\r\n"
        writer.write(f"{start}Content-Type: {OCTET_STREAM}\r\n{head}\r\n\r\n".encode() + body)
        if is_cut:
            writer.write_eof()
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def uploaded(self, video: bytes = b"film", **fields: Any) -> str:
        """Create a job, upload its video in one part, confirm it, and return the job's id."""
        created = await self.create(**fields)
        await self.put(created["training_video_upload_url"][0], video)
        confirmed = await self.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")
        assert confirmed["commond_result"] == "EXCUTE_SUCCESS", confirmed
        return str(created["job_id"])

    async def submitted(self, video: bytes = b"film", **fields: Any) -> str:
        """Upload a job, submit it, and return its id."""
        job_id = await self.uploaded(video, **fields)
        answer = await self.command(job_id, "SUBMITVERIFYING")
        assert answer["commond_result"] == "EXCUTE_SUCCESS", answer
        return job_id

    async def show(self, job_id: str) -> dict[str, Any]:
        return (await self.call("GET", f"/{job_id}")).document

    def job(self, job_id: str) -> JobView:
        return next(job for job in self.simulator.all_jobs if job.job_id == job_id)


Start = Callable[..., Awaitable[Client]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def start(clock: FakeClock) -> AsyncIterator[Start]:
    """Start a simulator with these options and return a client of it."""
    async with AsyncExitStack() as stack:

        async def start_simulator(data: Path | None = None, **options: Any) -> Client:
            simulator = Simulator(SimulatorOptions(**options), data=data, clock=clock)
            await stack.enter_async_context(simulator)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            # aiohttp would send a PUT again by itself when its connection breaks, and hide the fault.
            session._retry_connection = False  # noqa: SLF001 - there is no other way to switch it off
            return Client(simulator, session, clock)

        yield start_simulator


@pytest.fixture
async def client(start: Start) -> Client:
    """A client of a simulator with default options."""
    return await start()
