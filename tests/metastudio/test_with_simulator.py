"""The client's whole round against the simulator, which checks signatures and tokens on its own."""

from __future__ import annotations

import time

import anyio
import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.errors import CredentialsError, InterruptedTransferError, RequestRejectedError
from orchestrator.domain.retry import RetryPolicy
from orchestrator.metastudio.answers import CommandFailedError
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.credentials import Credentials, IamAccount
from orchestrator.metastudio.iam import IamPasswordAuth
from orchestrator.metastudio.rate_limit import RateLimiter, Retrying
from orchestrator.metastudio.signing import AkSkAuth, StaticTokenAuth
from orchestrator.metastudio.wire import Command, JobQuery, create_body
from orchestrator.simulator import Simulator, SimulatorOptions

AVATAR = Avatar(name="安娜 Anna", training_video="/f/a.mp4", contact="13800138000", cover="/f/a.png")


@pytest.fixture
async def simulator(tmp_path):
    async with Simulator(SimulatorOptions(), data=tmp_path) as running:
        yield running


@pytest.fixture
def connect(session, simulator):
    """Build a client of the simulator that waits no time."""

    async def no_wait(_seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    def make(auth) -> MetaStudioClient:
        return MetaStudioClient(
            session,
            endpoint=simulator.endpoint,
            project_id=simulator.options.project_id,
            auth=auth,
            limiter=RateLimiter(0, 0, clock=time.monotonic, sleep=no_wait),
            policy=RetryPolicy(attempts=4),
            sleep=no_wait,
            draw=lambda: 0.0,
            clock=time.time,
            timeout_seconds=5,
        )

    return make


@pytest.fixture
def keys(simulator) -> AkSkAuth:
    return AkSkAuth(Credentials(simulator.options.ak, simulator.options.sk))


@pytest.fixture
def password(session, simulator) -> IamPasswordAuth:
    options = simulator.options
    return IamPasswordAuth(
        session,
        IamAccount(
            user=options.user, password=options.password, domain=options.domain, endpoint=simulator.endpoint
        ),
        retrying=Retrying(policy=RetryPolicy(attempts=1), sleep=anyio.sleep, draw=lambda: 0.0),
        region=options.project_name,
    )


@pytest.fixture(params=["keys", "token", "password"])
def auth(request, simulator, keys, password):
    """Each way to prove who calls."""
    return {"keys": keys, "token": StaticTokenAuth(simulator.options.token), "password": password}[
        request.param
    ]


async def test_a_job_is_made_listed_shown_and_deleted_by_every_way_to_authenticate(connect, auth):
    """The answers read as documented, with a name that is not ASCII and a tag that needs encoding."""
    client = connect(auth)
    tag = "orch:a/b c+ü"
    body = create_body(AVATAR, batch_name="b", tag=tag, part_counts={AssetKind.TRAINING_VIDEO: 3})

    created = await client.create_job(body, app_user_id="studio 7")
    listed = [job async for job in client.iterate_jobs(JobQuery(tag=tag), app_user_id="studio 7")]
    shown = await client.show_job(created.job_id, app_user_id="studio 7")
    parts = await client.command(created.job_id, Command.GET_MULTIPART_UPLOADED, app_user_id="studio 7")
    deletions = [await client.delete_job(created.job_id, app_user_id="studio 7") for _ in range(2)]

    assert [url.part_number for url in created.urls[AssetKind.TRAINING_VIDEO]] == [1, 2, 3]
    assert [(job.job_id, job.name, job.state) for job in listed] == [
        (created.job_id, AVATAR.name, "WAIT_FILE_UPLOAD")
    ]
    assert (shown.job_id, shown.tags) == (created.job_id, (tag,))
    assert parts.parts == ()
    assert deletions == [True, False]


async def test_the_password_token_tells_the_project(simulator, password):
    """As IAM of the simulator answers."""
    assert await password.project_id() == simulator.options.project_id


async def test_wrong_keys_are_a_credentials_error(connect, simulator):
    """The simulator checks the signature anew."""
    with pytest.raises(CredentialsError) as caught:
        await connect(AkSkAuth(Credentials(simulator.options.ak, "wrong"))).list_jobs(JobQuery())

    assert caught.value.code == "APIGW.0301"
    assert caught.value.request_id


async def test_a_field_out_of_range_is_rejected_with_code_and_request_id(connect, keys):
    """The service's words reach the caller."""
    with pytest.raises(RequestRejectedError) as caught:
        await connect(keys).create_job({"name": "x" * 300})

    assert (caught.value.status, caught.value.code) == (400, "MSS.00000003")
    assert caught.value.request_id


async def test_confirming_without_parts_fails_although_the_answer_is_200(connect, keys):
    """The body's verdict counts."""
    client = connect(keys)
    created = await client.create_job({"name": "n", "video_multipart_count": 1})

    with pytest.raises(CommandFailedError):
        await client.command(created.job_id, Command.CONFIRM_MULTIPART_UPLOADED)


@pytest.mark.parametrize("fault", ["lost-create", "truncated-json", "reset-api", "error-500-api"])
async def test_a_create_without_an_answer_is_sent_once_and_found_by_its_tag(connect, keys, simulator, fault):
    """What became of it shows in the list; the client made no second one."""
    client = connect(keys)
    simulator.faults.script("create", [fault])

    with pytest.raises(InterruptedTransferError):
        await client.create_job({"name": "n", "tags": ["orch:1"]})

    listed = [job async for job in client.iterate_jobs(JobQuery(tag="orch:1"))]
    assert len(listed) == (1 if fault in {"lost-create", "truncated-json"} else 0)


@pytest.mark.parametrize("fault", ["throttle-429-seconds", "throttle-429-date"])
async def test_a_throttled_create_makes_one_job(connect, keys, simulator, fault):
    """It was not carried out, so it is sent again."""
    client = connect(keys)
    simulator.faults.script("create", [fault, fault])

    await client.create_job({"name": "n", "tags": ["orch:1"]})

    assert (await client.list_jobs(JobQuery(tag="orch:1"))).count == 1


@pytest.mark.parametrize(
    "fault", ["lost-answer-api", "truncated-json", "close-keepalive-api", "reset-api", "error-500-api"]
)
async def test_reads_get_through_any_passing_fault(connect, keys, simulator, fault):
    """Twice in a row and still answered."""
    client = connect(keys)
    created = await client.create_job({"name": "n"})
    for operation in ("show", "list", "list-parts"):
        simulator.faults.script(operation, [fault, fault])

    assert (await client.show_job(created.job_id)).name == "n"
    assert (await client.list_jobs(JobQuery())).count == 1
    assert (await client.command(created.job_id, Command.GET_MULTIPART_UPLOADED)).parts == ()
