"""The six calls against a scripted service: what is sent, what is understood."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from orchestrator import __version__
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import ConfigurationError, RequestRejectedError
from orchestrator.metastudio.answers import CommandFailedError
from orchestrator.metastudio.rate_limit import ApiAttempt
from orchestrator.metastudio.signing import SignableRequest
from orchestrator.metastudio.wire import Command, JobQuery, Part
from tests.metastudio.scripted import PROJECT_ID, Received, refuses, says, shows_page

JOBS = f"/v1/{PROJECT_ID}/digital-human-training-manage/user/jobs"
JOB_ID = "efc5300ecdba4ea48d1ff13a9d907bc0"
PART_URL = "https://obs.example:443/b/{job}_trainingVideo?partNumber={n}&uploadId=u&Signature=s%2Fs"
SUCCESS = {"commond_result": "EXCUTE_SUCCESS"}


async def test_create_sends_the_body_as_json_and_reads_the_urls_in_part_order(make_client, service):
    """URLs come back by asset kind, parts in the order of their numbers, absent ones left out."""
    urls = [PART_URL.format(job=JOB_ID, n=number) for number in (3, 1, 2)]
    cover = "https://obs.example/b/cover?Signature=x"
    service.script = [
        says(
            200, {"job_id": JOB_ID, "training_video_upload_url": urls, "cover_upload_url": cover, "new": [1]}
        )
    ]

    created = await make_client().create_job({"name": "Anna"})

    assert created.job_id == JOB_ID
    assert set(created.urls) == {AssetKind.TRAINING_VIDEO, AssetKind.COVER}
    assert [url.reveal() for url in created.urls[AssetKind.TRAINING_VIDEO]] == [urls[1], urls[2], urls[0]]
    assert [url.reveal() for url in created.urls[AssetKind.COVER]] == [cover]
    (request,) = service.requests
    assert (request.method, request.raw_path, json.loads(request.body)) == ("POST", JOBS, {"name": "Anna"})
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"metastudio-orchestrator/{__version__}"


async def test_every_call_carries_project_and_user_and_is_signed_as_the_vendor_signs_it(
    make_client, service, vendor_authorization
):
    """The signature on the wire is the vendor's for the headers, query and body that arrived."""
    client = make_client()
    service.script = [
        says(200, {"job_id": JOB_ID}),
        says(200, {"count": 0, "jobs": []}),
        says(200, {"job_id": JOB_ID, "name": "A", "state": "TRAINING"}),
        says(200, {}),
        says(200, SUCCESS),
        says(200, {}),
    ]

    await client.create_job({"name": "安娜"}, app_user_id="studio 7")
    await client.list_jobs(JobQuery(tag="orch:a b/ü", state=("A", "B")), app_user_id="studio 7")
    await client.show_job(JOB_ID, app_user_id="studio 7")
    await client.update_job(JOB_ID, {"name": "B"}, app_user_id="studio 7")
    await client.command(JOB_ID, Command.SUBMITVERIFYING, app_user_id="studio 7")
    await client.delete_job(JOB_ID, app_user_id="studio 7")

    assert len(service.requests) == 6
    for request in service.requests:
        assert request.headers["x-project-id"] == PROJECT_ID
        assert request.headers["x-app-userid"] == "studio 7"
        assert request.headers["authorization"] == _as_the_vendor_signs(request, vendor_authorization)


def _as_the_vendor_signs(request: Received, vendor_authorization) -> str:
    names = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"host", "x-sdk-date", "x-project-id", "x-app-userid", "user-agent"} <= set(names)
    split = urlsplit(request.raw_path)
    signable = SignableRequest(
        method=request.method,
        path=split.path,
        query=tuple(parse_qsl(split.query, keep_blank_values=True)),
        headers={name: request.headers[name] for name in names},
        body=request.body,
    )
    expected, uri = vendor_authorization(signable, "AKIDEXAMPLEEXAMPLE01", "secret-key-of-the-test")
    assert uri == request.raw_path
    return expected


async def test_show_reads_state_logs_and_downloads_and_tolerates_what_it_does_not_know(make_client, service):
    """Unknown states are kept, "null" means nothing, wrong download URLs are left out."""
    service.script = [
        says(
            200,
            {
                "job_id": JOB_ID,
                "name": "Anna",
                "state": "A_STATE_OF_2030",
                "contact": "13800138000",
                "tags": "null",
                "asset_id": "null",
                "flexus_retry_count": 3,
                "training_video_download_url": "https://obs.example/b/v?Signature=secret",
                "verify_video_download_url": "null",
                "mask_file_download_url": "https://[broken",
                "operation_logs": [
                    {"log_type": "SYSTEM_VERIFY_FAILED", "error_code": 44005901, "redo_reasons": [{"x": 1}]}
                ],
            },
        )
    ]

    job = await make_client().show_job(JOB_ID)

    assert (job.state, job.tags, job.asset_id) == ("A_STATE_OF_2030", (), None)
    assert str(job.download_urls.get("training_video")) == "<PresignedUrl obs.example/v>"
    assert [job.download_urls.get(name) for name in ("verify_video", "mask_file", "cover")] == [None] * 3
    assert (job.operation_logs[0].log_type, job.operation_logs[0].error_code) == (
        "SYSTEM_VERIFY_FAILED",
        "44005901",
    )
    assert "secret" not in repr(job)
    assert "13800138000" not in repr(job)


async def test_a_successful_read_command_lists_the_parts_without_quotes(make_client, service):
    """Part numbers are strings on the wire; what has none counts as not there."""
    parts = [
        {"part_number": "1", "etag": '"ab"'},
        {"part_number": "x"},
        {"part_number": 2, "etag": 'W/"CD"'},
        None,
    ]
    service.script = [says(200, {**SUCCESS, "multipart_data": parts})]

    result = await make_client().command(
        JOB_ID, Command.GET_MULTIPART_UPLOADED, command_message="UPLOAD_VIDEO"
    )

    assert result.parts == (Part(1, "ab"), Part(2, "cd"))
    assert json.loads(service.requests[0].body) == {
        "command": "GET_MULTIPART_UPLOADED",
        "command_message": "UPLOAD_VIDEO",
    }
    assert service.requests[0].raw_path == f"{JOBS}/{JOB_ID}/command"


@pytest.mark.parametrize(
    "body",
    [
        {
            "commond_result": "EXCUTE_FAILED",
            "excute_failed_msg": "parts are missing",
            "error_info": {"error_code": "MSS.44005999", "error_msg": "ignored"},
        },
        {"error_info": {"error_code": "MSS.44005999", "error_msg": "parts are missing"}},
    ],
    ids=["failed", "no result"],
)
async def test_a_command_answered_200_without_success_fails(make_client, service, body):
    """HTTP 200 is not success: the body's verdict is, with its code, message and the request id."""
    service.script = [says(200, body)]

    with pytest.raises(CommandFailedError, match=r"did not carry out CONFIRM.*parts are missing") as caught:
        await make_client().command(JOB_ID, Command.CONFIRM_MULTIPART_UPLOADED)

    assert (caught.value.code, caught.value.request_id) == ("MSS.44005999", "req-1")
    assert isinstance(caught.value, RequestRejectedError)


@pytest.mark.parametrize(
    ("reply", "is_deleted"), [(says(200), True), (refuses(404, "MSS.41000003", "task does not exist"), False)]
)
async def test_delete_tells_whether_there_was_a_job(make_client, service, reply, is_deleted):
    """A job that is gone already is no error."""
    service.script = [reply]

    assert await make_client().delete_job(JOB_ID) is is_deleted


async def test_a_gateway_that_does_not_know_the_api_is_not_a_deleted_job(make_client, service):
    """404 APIGW.0101 means a wrong endpoint, so nothing was deleted."""
    service.script = [refuses(404, "APIGW.0101", "The API does not exist")]

    with pytest.raises(ConfigurationError) as caught:
        await make_client().delete_job(JOB_ID)

    assert "--endpoint" in (caught.value.hint or "")


async def test_a_page_that_says_404_is_not_a_job_that_is_gone(make_client, service):
    """Something in between has answered: only the service's own code says that there is no such job."""
    client = make_client()
    service.script = [shows_page(404)] * 2

    for call in (client.delete_job, client.find_job):
        with pytest.raises(RequestRejectedError, match="404"):
            await call(JOB_ID)


async def test_a_job_that_is_looked_for_may_be_gone(make_client, service):
    """By the service's own 404."""
    service.script = [refuses(404, "MSS.41000003", "task does not exist")]

    assert await make_client().find_job(JOB_ID) is None


async def test_update_keeps_the_job_id_when_the_answer_does_not_repeat_it(make_client, service):
    """The answer's URLs belong to the job that was updated."""
    service.script = [says(200, {"training_video_upload_url": [PART_URL.format(job=JOB_ID, n=1)]})]

    updated = await make_client().update_job(JOB_ID, {})

    assert updated.job_id == JOB_ID
    assert len(updated.urls[AssetKind.TRAINING_VIDEO]) == 1


JOBS_250 = [f"job{number:03}" for number in range(250)]


def _listing(jobs: list[str], query: dict[str, str]) -> dict[str, object]:
    offset, limit = int(query["offset"]), int(query["limit"])
    page = [{"job_id": job, "name": job, "state": "TRAINING"} for job in jobs[offset : offset + limit]]
    return {"count": len(jobs), "jobs": page}


@pytest.mark.parametrize("deleted", [slice(60), slice(190, 250), slice(20, 90)])
async def test_iterating_misses_no_job_when_others_are_deleted_meanwhile(make_client, service, deleted):
    """Jobs before and behind the place go after the first page; the rest still come, each once."""
    meant = set(JOBS_250) - set(JOBS_250[deleted])
    jobs = list(JOBS_250)

    async def list_then_delete(request):
        reply = says(200, _listing(jobs, request.query))
        if len(jobs) == 250:
            del jobs[deleted]
        return await reply(request)

    service.script = [list_then_delete]

    listed = [job.job_id async for job in make_client().iterate_jobs(JobQuery(tag="t"))]

    assert meant <= set(listed)
    assert len(listed) == len(set(listed))
    assert all("sort_dir=asc&sort_key=create_time" in request.raw_path for request in service.requests)


async def test_iterating_stops_when_the_service_ignores_the_offset(make_client, service):
    """A service that sends the same page again and again does not keep the caller for ever."""
    page = [{"job_id": f"job{number}", "name": "n", "state": "s"} for number in range(100)]
    service.script = [says(200, {"jobs": page})]

    listed = [job.job_id async for job in make_client().iterate_jobs(JobQuery())]

    assert len(listed) == 100
    assert len(service.requests) < 5


async def test_iterating_stops_when_the_count_goes_up_and_down_for_ever(make_client, service):
    """A service that cannot count does not keep the caller either."""
    page = [{"job_id": f"job{number}", "name": "n", "state": "s"} for number in range(100)]

    async def answer(request):
        return await says(200, {"jobs": page, "count": 1000 + 100 * (len(service.requests) % 2)})(request)

    service.script = [answer]

    listed = [job.job_id async for job in make_client().iterate_jobs(JobQuery())]

    assert len(listed) == 100


async def test_a_page_that_holds_all_jobs_is_asked_for_once(make_client, service):
    """The count saves the empty page at the end."""
    service.script = [says(200, _listing(["a", "b"], {"offset": "0", "limit": "100"}))]

    assert len([job async for job in make_client().iterate_jobs(JobQuery())]) == 2
    assert len(service.requests) == 1


async def test_each_attempt_is_reported(make_client, service, attempts):
    """Operation, attempt, outcome, status, code and request id of both tries."""
    service.script = [refuses(503, "APIGW.0613"), says(200, {"count": 0, "jobs": []})]

    await make_client().list_jobs(JobQuery())

    assert attempts == [
        ApiAttempt(
            operation="list",
            attempt=1,
            outcome="interrupted",
            status=503,
            code="APIGW.0613",
            request_id="req-1",
            seconds=0.0,
        ),
        ApiAttempt(
            operation="list", attempt=2, outcome="ok", status=200, code=None, request_id="req-1", seconds=0.0
        ),
    ]


async def test_a_job_id_cannot_leave_its_place_in_the_path(make_client, service):
    """Slashes and dots of an id stay inside their path segment."""
    service.script = [says(200)]

    await make_client().delete_job("../a/b?c#d")

    assert service.requests[0].raw_path == f"{JOBS}/..%2Fa%2Fb%3Fc%23d"


async def test_a_user_id_that_no_header_can_carry_is_refused_before_sending(make_client, service):
    """A line break in X-App-UserId is a clear error."""
    with pytest.raises(RequestRejectedError, match="app_user_id"):
        await make_client().show_job(JOB_ID, app_user_id="a\r\nX: y")

    assert service.requests == []


@pytest.mark.parametrize("project_id", ["", "a/b", "a b", "x" * 65])
async def test_a_project_id_that_cannot_be_one_is_a_configuration_error(make_client, project_id):
    """It is found before anything is sent."""
    with pytest.raises(ConfigurationError, match="project id"):
        make_client(project_id=project_id)
