"""A simulated service whose objects lie elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from orchestrator.simulator import ObjectStoreOptions, Simulator, SimulatorOptions
from orchestrator.simulator.footage import sample_footage
from orchestrator.simulator.links import ACTION_VIDEO, TRAINING_VIDEO, object_key
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.s3 import S3Bucket
from tests.object_store.scripted import store_that_says
from tests.object_store.seaweed import Seaweed
from tests.object_store.shown import call


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody's connections."""
    async with aiohttp.ClientSession() as session:
        yield session


async def uploaded(simulator: Simulator, session: aiohttp.ClientSession) -> str:
    """Create a job, upload its film in one part and return its id."""
    status, created = await call(simulator, session, "POST", body={"name": "anna"})
    assert status == 200
    url = URL(created["training_video_upload_url"][0], encoded=True)
    async with session.put(url, data=sample_footage()) as answer:
        assert answer.status == 200
    return str(created["job_id"])


async def test_a_submitted_film_is_reviewed_where_it_lies(
    weed: Seaweed, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The service fetches it, and leaves no copy."""
    options = SimulatorOptions(object_store=weed.options())
    async with Simulator(options, data=tmp_path) as simulator:
        job_id = await uploaded(simulator, session)

        for command in ("CONFIRM_MULTIPART_UPLOADED", "SUBMITVERIFYING"):
            _, answer = await call(simulator, session, "POST", f"/{job_id}/command", {"command": command})
            assert answer["commond_result"] == "EXCUTE_SUCCESS", answer
        _, shown = await call(simulator, session, "GET", f"/{job_id}")

    assert shown["model_resolution"] == "1080P"
    assert not list((tmp_path / "incoming").iterdir())


async def test_a_deleted_job_leaves_nothing_in_the_store(
    weed: Seaweed, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Its objects go, and its uploads are aborted."""
    async with (
        Simulator(SimulatorOptions(object_store=weed.options())) as simulator,
        S3Bucket(weed.options(), tmp_path) as bucket,
    ):
        job_id = await uploaded(simulator, session)
        key, action_key = object_key(job_id, TRAINING_VIDEO), object_key(job_id, ACTION_VIDEO)
        action_upload = simulator.service.jobs[job_id].upload_ids["action_video"]
        await call(
            simulator, session, "POST", f"/{job_id}/command", {"command": "CONFIRM_MULTIPART_UPLOADED"}
        )
        assert await bucket.held([key]) == {key}
        assert await bucket.parts(action_upload, action_key) == {}

        status, _ = await call(simulator, session, "DELETE", f"/{job_id}")

        assert status == 200
        assert not await bucket.held([key])
        with pytest.raises(StoreError, match="does not exist"):
            await bucket.parts(action_upload, action_key)


async def test_a_kill_right_after_the_store_joined_the_parts_is_healed_at_the_next_start(
    weed: Seaweed, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The simulator asks for its uploads: one that is gone and has become an object was confirmed."""
    options = SimulatorOptions(object_store=weed.options())
    async with Simulator(options, data=tmp_path) as simulator, S3Bucket(weed.options(), tmp_path) as bucket:
        job_id = await uploaded(simulator, session)
        upload_id = simulator.service.jobs[job_id].upload_ids["training_video"]
        await bucket.complete(upload_id, object_key(job_id, TRAINING_VIDEO), 1)

    async with Simulator(options, data=tmp_path) as simulator:
        (job,) = simulator.jobs

    assert job.confirmations == {"training_video": 1}


@pytest.mark.parametrize(("is_gone", "code"), [(False, "SlowDown"), (True, "ServiceUnavailable")])
async def test_trouble_with_the_store_is_an_internal_error_of_the_service(
    session: aiohttp.ClientSession, code: str, *, is_gone: bool
) -> None:
    """A 500 as the service has them, with the store's code and nothing secret."""
    async with store_that_says(503, "SlowDown") as url:
        store = ObjectStoreOptions(url=url, bucket="footage", ak="AK", sk="secret-key")
        simulator = Simulator(SimulatorOptions(object_store=store))
        await simulator.start()
        answer: tuple[int, dict[str, Any]] = (0, {})
        if not is_gone:
            answer = await call(simulator, session, "POST", body={"name": "anna"})
    if is_gone:
        answer = await call(simulator, session, "POST", body={"name": "anna"})
    await simulator.stop()

    status, document = answer
    assert (status, document["error_code"]) == (500, "MSS.00000004")
    assert code in document["error_msg"]


@pytest.mark.parametrize(
    ("store", "options"),
    [
        ({"signature": "v3"}, {}),
        ({"url": "127.0.0.1:8333"}, {}),
        ({"url": "http://127.0.0.1:8333/footage"}, {}),
        ({"url": "http://:8333"}, {}),
        ({"url": "http://127.0.0.1:port"}, {}),
        ({"url": "http://user:secret@127.0.0.1:8333"}, {}),
        ({"bucket": ""}, {}),
        ({"sk": ""}, {}),
        ({}, {"fault_rates": {"slow-down": 0.1}}),
        ({}, {"store_bytes_per_second": 1e6}),
        ({"signature": "v4"}, {"url_lifetime_seconds": 0.5}),
        ({"signature": "v4"}, {"url_lifetime_seconds": 8 * 86400.0}),
    ],
)
def test_what_a_real_store_cannot_do_is_refused(store: dict[str, Any], options: dict[str, Any]) -> None:
    """With a sentence, before anything starts."""
    good = {"url": "http://127.0.0.1:8333", "bucket": "footage", "ak": "AK", "sk": "secret-key"}

    with pytest.raises(ValueError, match=r"must be|is missing|alone can|V4 URLs") as caught:
        SimulatorOptions(object_store=ObjectStoreOptions(**{**good, **store}), **options)

    assert "secret" not in str(caught.value)


def test_the_text_of_the_options_holds_no_secret_key() -> None:
    """Neither alone nor inside the simulator's."""
    store = ObjectStoreOptions(url="http://127.0.0.1:8333", bucket="footage", ak="AK", sk="secret-key")

    assert "secret-key" not in repr(SimulatorOptions(object_store=store))
