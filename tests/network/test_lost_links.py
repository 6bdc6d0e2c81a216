"""A link that drops packets: no error is seen at either end, and the system keeps what it could not deliver."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from orchestrator.domain.errors import InterruptedTransferError, ServiceUnreachableError
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine.service_connection import Clocks, connect
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.metastudio.rate_limit import ApiRate
from tests.crash.network import Link, Network, missing, within
from tests.crash.server import ReachableSimulator
from tests.rig import service_settings

_CALL_SECONDS = 1.0


@pytest.fixture
def network() -> Iterator[Network]:
    """One host and the servers; skipped where there can be none."""
    if reason := missing():
        pytest.skip(reason)
    with Network.of(1) as made:
        yield made


def undelivered() -> list[str]:
    """The connections of this thread's network that hold bytes which the other side has not confirmed."""
    _, *lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()
    return [line for line in lines if int(line.split()[4].partition(":")[0], 16)]


async def nothing_undelivered() -> None:
    """Wait for it; raises TimeoutError. The system's timers are as real as the network."""
    with anyio.fail_after(2 * _CALL_SECONDS):
        while undelivered():  # noqa: ASYNC110 - the system tells nobody of it
            await anyio.sleep(0.01)


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda client, _: client.create_job({"name": "lost"}), id="create"),
        pytest.param(lambda client, job_id: client.update_job(job_id, {"name": "lost"}), id="update"),
        pytest.param(lambda client, job_id: client.delete_job(job_id), id="delete"),
    ],
)
async def test_a_change_that_was_given_up_is_not_delivered_later(
    network: Network, tmp_path: Path, change: Callable[[MetaStudioClient, str], Awaitable[object]]
) -> None:
    """A create would be a second job: when the link is back the service is asked for the first, and it is made again.

    An update could take away what was stored since, a delete what was decided otherwise.
    """
    with within(network.servers):
        simulator = ReachableSimulator(data=tmp_path, address=Link.SERVICE.server)
        await simulator.start()
    options = simulator.options
    settings = service_settings(
        endpoint=simulator.endpoint,
        project_id=options.project_id,
        credentials=FoundCredentials(
            secret=Credentials(options.ak, options.sk), source="the test", project_id=None
        ),
        api_rate=ApiRate(0.0, 0.0),
        api_policy=RetryPolicy(attempts=1),
        api_timeout=_CALL_SECONDS,
        is_insecure_http_allowed=True,
    )
    clocks = Clocks(
        clock=time.time, monotonic=time.monotonic, sleep=anyio.sleep, draw=lambda: 0.0, nonce=lambda: ""
    )
    try:
        with within(network.hosts[0]):
            async with connect(settings, clocks, reader_threads=1) as connection:
                # Of changes and of reads: over a link that is cut none could be made, and nothing would be sent.
                before = await connection.client.create_job({"name": "before"})
                await connection.client.show_job(before.job_id)
                network.cut(0, Link.SERVICE)

                with pytest.raises((InterruptedTransferError, ServiceUnreachableError)):
                    await change(connection.client, before.job_id)

                await nothing_undelivered()
                network.mend(0, Link.SERVICE)
                jobs = [job.name for job in simulator.jobs]
    finally:
        await simulator.stop()
    assert jobs == ["before"]
