"""The vendor's own clients, unchanged, work against the simulator."""

import asyncio
import importlib
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.simulator.footage import sample_footage

PART = b"x" * 102400


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The SDK; importing it writes an application id below HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return importlib.import_module("huaweicloudsdkmetastudio.v1")


def build(client_class: Any, client: Any, **credentials: Any) -> Any:
    """Return a client of the SDK with the simulator's keys, or those given."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials

    options = client.simulator.options
    keys = {"ak": options.ak, "sk": options.sk, "project_id": options.project_id, **credentials}
    builder = client_class.new_builder().with_credentials(BasicCredentials(**keys))
    return builder.with_endpoint(client.simulator.endpoint).build()


@pytest.fixture
async def vendor(sdk: ModuleType, client: Any) -> Any:
    """The SDK's blocking client."""
    return build(sdk.MetaStudioClient, client)


def create_request(sdk: ModuleType, **fields: Any) -> Any:
    """Return a create request with these fields."""
    body = sdk.Create2dModelTrainingJobReq(**{"name": "Test Role", **fields})
    return sdk.Create2dModelTrainingJobRequest(body=body, x_app_user_id="studio-7")


def command_request(sdk: ModuleType, job_id: str, command: str) -> Any:
    """Return a command request."""
    body = sdk.Execute2dModelTrainingCommandByUserReq(command=command)
    return sdk.Execute2dModelTrainingCommandByUserRequest(job_id=job_id, body=body)


async def execute(sdk: ModuleType, vendor: Any, job_id: str, command: str) -> Any:
    """Send a command with the blocking client."""
    request = command_request(sdk, job_id, command)
    return await asyncio.to_thread(vendor.execute2d_model_training_command_by_user, request)


async def test_a_job_lives_its_whole_life_through_the_sdk(sdk: ModuleType, vendor: Any, client: Any) -> None:
    """Create, upload by plain HTTP, list parts, confirm, submit, list, show."""
    fields = {
        "contact": "ops@example.com",
        "video_multipart_count": 2,
        "batch_name": "studio 2026/11",
        "tags": ["a b", "c,d*é"],
        "voice_properties": sdk.VoiceProperties(job_tag="NEWS", sex="FEMALE", language="CN"),
        "supported_service": ["VIDEO_2D", "LIVE_2D"],
    }
    created = await asyncio.to_thread(vendor.create2d_model_training_job, create_request(sdk, **fields))
    for url, body in zip(created.training_video_upload_url, (PART, b"end"), strict=True):
        await client.put(url, body)
    await client.put(created.grant_file_upload_url, b"letter")

    listed = await execute(sdk, vendor, created.job_id, "GET_MULTIPART_UPLOADED")
    results = [
        (await execute(sdk, vendor, created.job_id, command)).commond_result
        for command in ("CONFIRM_MULTIPART_UPLOADED", "CONFIRM_AUTHORIZATION_LETTER", "SUBMITVERIFYING")
    ]
    query = sdk.List2dModelTrainingJobRequest(
        tag="c,d*é", batch_name="studio 2026/11", state="AUTO_VERIFYING,TRAINING", is_flexus=False, limit=100
    )
    page = await asyncio.to_thread(vendor.list2d_model_training_job, query)
    client.clock.now += 86400
    shown = await asyncio.to_thread(
        vendor.show2d_model_training_job, sdk.Show2dModelTrainingJobRequest(job_id=created.job_id)
    )

    assert [part.part_number for part in listed.multipart_data] == ["1", "2"]
    assert results == ["EXCUTE_SUCCESS"] * 3
    assert (page.count, page.jobs[0].job_id, page.jobs[0].app_user_id) == (1, created.job_id, "studio-7")
    assert (shown.state, shown.tags, shown.voice_properties.job_tag) == (
        "JOB_SUCCESS",
        ["a b", "c,d*é"],
        "NEWS",
    )
    assert shown.operation_logs[1].log_type == "USER_VERIFYING_SUBMITTED"
    assert all(response.x_request_id for response in (created, listed, page, shown))


async def test_a_failed_review_is_mended_through_the_sdk(sdk: ModuleType, vendor: Any, client: Any) -> None:
    """Update gives fresh URLs; afterwards the job passes."""
    job_id = await client.submitted(name="review-fail")
    client.clock.now += 7
    body = sdk.Update2dModelTrainingJobReq(
        command_message="UPDATE_VIDEO", video_multipart_count=1, name="anna"
    )
    request = sdk.Update2dModelTrainingJobRequest(job_id=job_id, body=body)

    updated = await asyncio.to_thread(vendor.update2d_model_training_job, request)
    await client.put(updated.training_video_upload_url[0], sample_footage())
    await execute(sdk, vendor, job_id, "CONFIRM_MULTIPART_UPLOADED")
    await execute(sdk, vendor, job_id, "SUBMITVERIFYING")
    client.clock.now += 86400

    assert (await client.show(job_id))["state"] == "JOB_SUCCESS"


async def test_delete_and_its_404_come_through_the_sdk(sdk: ModuleType, vendor: Any, client: Any) -> None:
    """The second delete raises with code and request id."""
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

    request = sdk.Delete2dModelTrainingJobRequest(job_id=(await client.create())["job_id"])
    deleted = await asyncio.to_thread(vendor.delete2d_model_training_job, request)

    with pytest.raises(ClientRequestException) as refused:
        await asyncio.to_thread(vendor.delete2d_model_training_job, request)

    assert deleted.x_request_id
    assert (refused.value.status_code, refused.value.error_code) == (404, "MSS.41000003")
    assert refused.value.request_id


@pytest.mark.parametrize(
    ("count", "fault", "refused"),
    [(1001, None, (400, "MSS.00000003")), (1, "throttle-429", (429, "APIGW.0308"))],
)
async def test_a_refused_create_raises_with_its_code(
    vendor: Any, client: Any, count: int, fault: str | None, refused: tuple[int, str]
) -> None:
    """Range errors and throttling are errors of the client."""
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

    client.simulator.faults.script("create", [fault])
    request = create_request(
        importlib.import_module("huaweicloudsdkmetastudio.v1"), video_multipart_count=count
    )

    with pytest.raises(ClientRequestException) as raised:
        await asyncio.to_thread(vendor.create2d_model_training_job, request)

    assert (raised.value.status_code, raised.value.error_code) == refused
    assert raised.value.request_id


async def test_a_server_error_raises_with_its_code(sdk: ModuleType, vendor: Any, client: Any) -> None:
    """500 MSS.00000004."""
    from huaweicloudsdkcore.exceptions.exceptions import ServerResponseException

    client.simulator.faults.script("create", ["error-500-api"])

    with pytest.raises(ServerResponseException, match=r"MSS\.00000004"):
        await asyncio.to_thread(vendor.create2d_model_training_job, create_request(sdk))


@pytest.mark.parametrize(
    ("command", "is_known"),
    [
        ("GET_ACTION_VIDEO_MULTIPART_UPLOADED", True),
        ("CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED", False),
        ("CONFIRM_MULTIPART_UPLOADED", False),
        ("CONFIRM_AUTHORIZATION_LETTER", False),
        ("DELETE_JOB_VIDEO", True),
        ("CONFIRM_REPAIR", False),
        ("CONFIRM_ACCEPT", False),
        ("CONFIRM_REJECT", False),
        ("CONFIRM_ANSWER", False),
        ("CONFIRM_PENDING", False),
        ("CONFIRM_ACTIVE", False),
    ],
)
async def test_every_command_of_the_sdk_gets_an_answer(
    sdk: ModuleType, vendor: Any, client: Any, command: str, is_known: bool
) -> None:
    """On a job without files: executed, or refused with error_info the SDK can read."""
    job_id = (await client.create())["job_id"]

    answer = await execute(sdk, vendor, job_id, command)

    assert (answer.commond_result == "EXCUTE_SUCCESS") is is_known
    assert is_known or answer.error_info.error_msg == answer.excute_failed_msg


@pytest.mark.parametrize("wrong", [{"sk": "wrong"}, {"ak": "WRONG"}])
async def test_wrong_keys_are_a_401(sdk: ModuleType, client: Any, wrong: dict[str, str]) -> None:
    """The signature is verified for real."""
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

    stranger = build(sdk.MetaStudioClient, client, **wrong)

    with pytest.raises(ClientRequestException) as refused:
        await asyncio.to_thread(stranger.create2d_model_training_job, create_request(sdk))

    assert (refused.value.status_code, refused.value.error_code) == (401, "APIGW.0301")
    assert client.simulator.stats.refusals == {"auth APIGW.0301": 1}


async def test_the_sdk_finds_its_project_by_region(sdk: ModuleType, client: Any) -> None:
    """Without a project id it asks IAM, signed as everything else."""
    from huaweicloudsdkcore.region.region import Region

    def build_and_list() -> Any:
        from huaweicloudsdkcore.auth.credentials import BasicCredentials

        options, endpoint = client.simulator.options, client.simulator.endpoint
        credentials = BasicCredentials(options.ak, options.sk).with_iam_endpoint(endpoint)
        builder = sdk.MetaStudioClient.new_builder().with_credentials(credentials)
        vendor = builder.with_region(Region("cn-north-4", endpoint)).build()
        return vendor.list2d_model_training_job(sdk.List2dModelTrainingJobRequest())

    page = await asyncio.to_thread(build_and_list)

    assert (page.count, client.simulator.stats.requests["projects"]) == (0, 1)


async def test_the_asynchronous_client_works_too(sdk: ModuleType, client: Any) -> None:
    """Its futures are waited for in a thread."""
    vendor = build(sdk.MetaStudioAsyncClient, client)

    def run() -> Any:
        created = vendor.create2d_model_training_job_async(create_request(sdk)).result()
        shown = sdk.Show2dModelTrainingJobRequest(job_id=created.job_id)
        listing = command_request(sdk, created.job_id, "GET_MULTIPART_UPLOADED")
        return (
            vendor.show2d_model_training_job_async(shown).result(),
            vendor.execute2d_model_training_command_by_user_async(listing).result(),
        )

    shown, listed = await asyncio.to_thread(run)

    assert (shown.name, listed.multipart_data) == ("Test Role", [])


@pytest.mark.parametrize("signature", ["obs", "v2"])
async def test_urls_presigned_by_the_vendors_store_client_are_good(client: Any, signature: str) -> None:
    """PUT and GET, AccessKeyId and AWSAccessKeyId, Content-Type signed by the vendor's own code."""
    from obs import ObsClient

    options, endpoint = client.simulator.options, client.simulator.endpoint
    client.clock.now = 0.0
    store = ObsClient(
        options.store_ak, options.store_sk, server=endpoint, path_style=True, signature=signature
    )
    headers = {"Content-Type": "application/octet-stream"}
    upload = store.createSignedUrl("PUT", options.bucket, "some/film é.mp4", headers=headers, expires=300)
    download = store.createSignedUrl("GET", options.bucket, "some/film é.mp4", expires=300)

    stored = await client.put(upload.signedUrl, b"film")
    read = await client.request("GET", download.signedUrl)
    altered = await client.request(
        "PUT", upload.signedUrl, data=io.BytesIO(b"film"), headers={"Content-Type": "video/mp4"}
    )

    assert (stored.status, read.body, altered.status) == (200, b"film", 403)


async def test_a_part_presigned_by_the_vendors_store_client_is_a_part(client: Any) -> None:
    """partNumber and uploadId are in its signature as in ours."""
    from obs import ObsClient

    created = await client.create()
    url = created["training_video_upload_url"][0]
    upload_id = url.partition("uploadId=")[2].partition("&")[0]
    options = client.simulator.options
    client.clock.now = 0.0
    store = ObsClient(options.store_ak, options.store_sk, server=client.simulator.endpoint, path_style=True)
    signed = store.createSignedUrl(
        "PUT",
        options.bucket,
        f"p/{created['job_id']}_trainingVideo",
        headers={"Content-Type": "application/octet-stream"},
        queryParams={"partNumber": "1", "uploadId": upload_id},
    )

    answer = await client.put(signed.signedUrl, b"film")

    assert (answer.status, list(client.job(created["job_id"]).parts["training_video"])) == (200, [1])
