"""What the simulator acknowledged survives its end, however it ends."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from orchestrator.simulator import Simulator, SimulatorOptions, serve

PART = b"x" * 102400
PROGRAM = """
import asyncio, sys
from pathlib import Path
from orchestrator.simulator import SimulatorOptions, serve

def show(simulator):
    print(simulator.endpoint, flush=True)

asyncio.run(serve(SimulatorOptions(), port=0, data=Path(sys.argv[1]), on_listening=show))
"""


@asynccontextmanager
async def process(data: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a simulator of its own and tell where it listens."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(data), stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        yield running, (await running.stdout.readline()).decode().strip()
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


def moved(url: str, endpoint: str) -> str:
    """Return the URL at another endpoint; V2 does not sign the host."""
    split = urlsplit(url)
    return f"{endpoint}{split.path}?{split.query}"


async def test_jobs_parts_objects_and_used_urls_survive_a_restart(start: Any, tmp_path: Path) -> None:
    """The second process goes on where the first one stopped."""
    first = await start(data=tmp_path)
    created = await first.create(video_multipart_count=2, tags=["mine"])
    await first.put(created["training_video_upload_url"][0], PART)
    await first.put(created["cover_upload_url"], b"cover")
    await first.simulator.stop()

    second = await start(data=tmp_path)
    again = await second.put(moved(created["training_video_upload_url"][0], second.simulator.endpoint), PART)
    await second.put(moved(created["training_video_upload_url"][1], second.simulator.endpoint), b"end")
    answer = await second.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    job = second.job(created["job_id"])
    assert (again.status, answer["commond_result"], job.tags) == (403, "EXCUTE_SUCCESS", ("mine",))
    assert job.objects["training_video"].read_bytes() == PART + b"end"
    assert job.objects["cover"].read_bytes() == b"cover"


async def test_the_review_goes_on_while_the_simulator_is_away(start: Any, tmp_path: Path) -> None:
    """Its state follows from the clock."""
    first = await start(data=tmp_path)
    job_id = await first.submitted(name="review-fail")
    await first.simulator.stop()
    first.clock.now += 7

    second = await start(data=tmp_path)
    shown = await second.show(job_id)

    assert (shown["state"], shown["operation_logs"][-1]["error_code"]) == ("AUTO_VERIFY_FAILED", "44005901")


async def test_deleted_jobs_stay_deleted(start: Any, tmp_path: Path) -> None:
    """And can still be looked at."""
    first = await start(data=tmp_path)
    job_id = (await first.create())["job_id"]
    await first.call("DELETE", f"/{job_id}")
    await first.simulator.stop()

    second = await start(data=tmp_path)

    assert (await second.call("GET", f"/{job_id}")).status == 404
    assert [job.is_deleted for job in second.simulator.all_jobs] == [True]


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, start: Any) -> None:
    """A PUT cut by the kill leaves nothing; one that was answered is there."""
    async with process(tmp_path) as (running, endpoint), aiohttp.ClientSession() as session:
        options = SimulatorOptions()
        jobs = f"{endpoint}/v1/{options.project_id}/digital-human-training-manage/user/jobs"
        headers = {"X-Auth-Token": options.token}
        async with session.post(jobs, json={"name": "anna"}, headers=headers) as answer:
            created = await answer.json()
        octets = {"Content-Type": "application/octet-stream"}
        url = created["training_video_upload_url"][0]
        async with session.put(URL(url, encoded=True), data=b"film", headers=octets) as answer:
            assert answer.status == 200
        async with half_a_put(created["cover_upload_url"], tmp_path / "incoming"):
            running.send_signal(signal.SIGKILL)
            await running.wait()

    client = await start(data=tmp_path)

    job = client.job(created["job_id"])
    assert (job.parts["training_video"], job.objects) == ({1: md5(b"film").hexdigest()}, {})
    assert await asyncio.to_thread(lambda: list((tmp_path / "incoming").iterdir())) == []


@asynccontextmanager
async def half_a_put(url: str, incoming: Path) -> AsyncIterator[None]:
    """Send a PUT's head and half of its body, wait until some is on disk, and stay connected while inside."""
    split = urlsplit(url)
    _, writer = await asyncio.open_connection(split.hostname, split.port)
    head = (
        f"Host: {split.netloc}\r\nContent-Type: application/octet-stream\r\nContent-Length: 4000000\r\n\r\n"
    )
    writer.write(f"PUT {split.path}?{split.query} HTTP/1.1\r\n{head}".encode() + bytes(2_000_000))
    await writer.drain()
    async with asyncio.timeout(5):
        while not await asyncio.to_thread(lambda: list(incoming.iterdir())):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    yield
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_join_that_was_not_noted_is_a_confirmation_all_the_same(start: Any, tmp_path: Path) -> None:
    """Killed between joining the parts and writing it into the job."""
    first = await start(data=tmp_path)
    created = await first.create()
    await first.put(created["training_video_upload_url"][0], b"film")
    upload = next(upload for upload in first.simulator.store.uploads.values() if upload.parts)
    await first.simulator.store.complete(upload.upload_id, upload.key, 1)
    await first.simulator.stop()

    second = await start(data=tmp_path)

    assert second.job(created["job_id"]).confirmations == {"training_video": 1}
    assert (await second.command(created["job_id"], "SUBMITVERIFYING"))["commond_result"] == "EXCUTE_SUCCESS"


async def test_two_simulators_cannot_share_their_data(start: Any, tmp_path: Path) -> None:
    """The second says so; the first is undisturbed."""
    first = await start(data=tmp_path)

    with pytest.raises(OSError, match=r"cannot keep its state in .*locked"):
        await Simulator(SimulatorOptions(), data=tmp_path).start()

    assert (await first.create())["job_id"]


async def test_without_data_nothing_is_left() -> None:
    """The temporary folder goes with the simulator."""
    async with Simulator(SimulatorOptions()) as simulator:
        folder = simulator.folder
        assert await asyncio.to_thread((folder / "objects").is_dir)

    assert not await asyncio.to_thread(folder.exists)


async def test_a_served_simulator_ends_cleanly_when_cancelled(tmp_path: Path) -> None:
    """The caller's signal handler cancels; the address is free afterwards."""
    listening: asyncio.Queue[Simulator] = asyncio.Queue()
    serving = asyncio.ensure_future(
        serve(SimulatorOptions(), port=0, data=tmp_path, on_listening=listening.put_nowait)
    )
    simulator = await listening.get()
    port = urlsplit(simulator.endpoint).port

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    async with Simulator(SimulatorOptions(), data=tmp_path, port=port or 0) as again:
        assert again.endpoint == simulator.endpoint
