"""The simulator listens on loopback only, can be looked at, and never blocks its caller's loop."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from blockbuster import blockbuster_ctx

from orchestrator.simulator import Simulator, SimulatorOptions, serve


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", ""])
def test_other_hosts_than_loopback_are_refused(host: str) -> None:
    """Its credentials are no secret."""
    with pytest.raises(ValueError, match="only listens on loopback"):
        Simulator(SimulatorOptions(), host=host)


async def test_a_taken_port_is_an_error_that_leaves_nothing_open(client: Any) -> None:
    """OSError, as for any server."""
    port = int(client.simulator.endpoint.rpartition(":")[2])

    with pytest.raises(OSError, match="address already in use"):
        await Simulator(SimulatorOptions(), port=port).start()


async def test_a_simulator_that_is_cancelled_leaves_nothing_behind() -> None:
    """That is how the command ends it."""
    started: list[Simulator] = []

    with anyio.CancelScope() as scope:

        def stop(simulator: Simulator) -> None:
            started.append(simulator)
            scope.cancel()

        await serve(SimulatorOptions(), port=0, data=None, on_listening=stop)

    assert not started[0].folder.exists()


@pytest.mark.parametrize(
    "options",
    [{"retry_after": "soon"}, {"speed": 0.0}, {"fault_rates": {"boom": 0.1}}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    """With a sentence, before anything starts."""
    with pytest.raises(ValueError, match="must be|There is no fault"):  # noqa: RUF043
        Simulator(SimulatorOptions(**options))


def test_the_text_of_the_options_holds_no_secret() -> None:
    """Keys, tokens and the password are left out of the repr."""
    options = SimulatorOptions(security_token="sts-token")

    for secret in (options.sk, options.token, options.password, options.store_sk, "sts-token"):
        assert secret not in repr(options)


async def test_stats_and_jobs_can_be_read_without_credentials(client: Any) -> None:
    """Counts, faults and file paths in JSON, but no URL with a signature."""
    client.simulator.faults.script("list", ["error-500-api"])
    created = await client.create(tags=["mine"])
    await client.call("GET")
    await client.put(created["cover_upload_url"], b"cover")

    stats = await client.request("GET", f"{client.simulator.endpoint}/_simulator/stats")
    jobs = await client.request("GET", f"{client.simulator.endpoint}/_simulator/jobs")

    job = jobs.document["jobs"][0]
    assert stats.document["requests"] == {"create": 1, "list": 1, "put": 1}
    assert stats.document["faults"] == {"error-500-api": 1}
    assert stats.document["puts"] == {f"p/{created['job_id']}_cover": 1}
    assert (stats.document["put_bytes_received"], stats.document["store_requests"]) == (5, 1)
    assert await asyncio.to_thread(Path(job["objects"]["cover"]).read_bytes) == b"cover"
    assert b"Signature" not in stats.body + jobs.body


async def test_puts_of_a_part_are_counted_by_part(client: Any) -> None:
    """So that a test can say which part was sent twice."""
    client.simulator.faults.script("put", ["slow-down"])
    created = await client.create(video_multipart_count=2)
    first, second = created["training_video_upload_url"]
    for url in (first, first, second):
        await client.put(url, b"part")

    counts = client.simulator.stats.puts

    assert {label.partition("@")[0].partition("#")[2]: count for label, count in counts.items()} == {
        "1": 2,
        "2": 1,
    }
    assert (client.simulator.stats.put_bytes_received, client.simulator.stats.put_bytes_stored) == (12, 8)


async def test_nothing_blocks_the_loop(start: Any, tmp_path: Path) -> None:
    """Files and SQLite are used in threads only, from start to stop."""
    with blockbuster_ctx():
        client = await start(data=tmp_path)
        job_id = await client.submitted(bytes(3_000_000))
        url = (await client.show(job_id))["training_video_download_url"]
        assert len((await client.request("GET", url)).body) == 3_000_000
        other = await client.create()
        await client.put(other["cover_upload_url"], b"cover")
        await client.call("DELETE", f"/{other['job_id']}")
        await client.simulator.stop()


@pytest.fixture
async def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key in one file."""
    file = tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        *subject,
    ]
    made = await asyncio.create_subprocess_exec(
        "openssl",
        *arguments,
        "-keyout",
        file,
        "-out",
        tmp_path / "public.pem",
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    with file.open("ab") as both:
        both.write((tmp_path / "public.pem").read_bytes())
    return file


async def test_it_speaks_tls_with_the_callers_certificate(certificate: Path) -> None:
    """https endpoint, https store URLs."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate.with_name("public.pem")))

    async with Simulator(SimulatorOptions(), tls=server) as simulator, aiohttp.ClientSession() as session:
        url = (
            f"{simulator.endpoint}/v1/{simulator.options.project_id}/digital-human-training-manage/user/jobs"
        )
        headers = {"X-Auth-Token": simulator.options.token}
        async with session.post(url, json={"name": "anna"}, headers=headers, ssl=trusting) as answer:
            created = await answer.json()

    assert simulator.endpoint.startswith("https://127.0.0.1:")
    assert created["cover_upload_url"].startswith(simulator.endpoint + "/digitalhuman/p/")
