"""The training-job API keeps the ranges, filters and states of the protocol document."""

from typing import Any

import pytest

from orchestrator.simulator import World


def part_numbers(urls: list[str]) -> list[int]:
    """Return the part number of each URL."""
    return [int(url.partition("partNumber=")[2].partition("&")[0]) for url in urls]


async def test_create_answers_a_job_and_where_to_put_its_files(client: Any) -> None:
    """Each video part has its URL; each other file its own."""
    created = await client.create(video_multipart_count=3, action_video_multipart_count=2)

    single = {name for name, value in created.items() if name.endswith("_url") and isinstance(value, str)}
    assert part_numbers(created["training_video_upload_url"]) == [1, 2, 3]
    assert part_numbers(created["action_video_upload_url"]) == [1, 2]
    assert single == {
        "audio_upload_url",
        "cover_upload_url",
        "id_card_image1_upload_url",
        "id_card_image2_upload_url",
        "grant_file_upload_url",
        "pre_beauty_image_upload_url",
        "post_beauty_image_upload_url",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 257},
        {"contact": "1" * 65},
        {"video_multipart_count": 0},
        {"video_multipart_count": 1001},
        {"video_multipart_count": "2"},
        {"action_video_multipart_count": 1001},
        {"tags": ["x"] * 11},
        {"tags": ["x" * 129]},
        {"batch_name": ""},
        {"model_version": "V4"},
        {"command_message": "UPLOAD"},
        {"audio_source_type": "ZIP"},
        {"is_flexus": "true"},
        {"voice_properties": {"job_tag": "NEWS", "sex": "MALE"}},
        {"supported_service": ["VIDEO_3D"]},
    ],
)
async def test_a_value_out_of_range_is_a_400_that_names_the_field(
    client: Any, fields: dict[str, Any]
) -> None:
    """MSS.00000003, and nothing is created."""
    answer = await client.call("POST", body={"name": "anna", **fields})

    assert (answer.status, answer.document["error_code"]) == (400, "MSS.00000003")
    assert next(iter(fields)) in answer.document["error_msg"]
    assert client.simulator.jobs == []


async def test_a_body_that_is_no_json_is_a_400(client: Any) -> None:
    """The service says Request JSON exception."""
    headers = {"X-Auth-Token": client.simulator.options.token}

    answer = await client.request("POST", client.jobs_url, data=b"{", headers=headers)

    assert (answer.status, answer.document["error_code"]) == (400, "MSS.10000002")


async def test_every_answer_has_a_request_id(client: Any) -> None:
    """Good and bad answers alike, each its own."""
    good, missing = await client.call("GET"), await client.call("GET", "/unknown")
    stranger = await client.request("GET", client.jobs_url)

    assert [answer.status for answer in (good, missing, stranger)] == [200, 404, 401]
    assert len({answer.headers["x-request-id"] for answer in (good, missing, stranger)}) == 3


async def test_another_project_is_refused(client: Any) -> None:
    """The project of the path must be the caller's."""
    headers = {"X-Auth-Token": client.simulator.options.token}
    url = client.jobs_url.replace(client.simulator.options.project_id, "f" * 32)

    answer = await client.request("GET", url, headers=headers)

    assert (answer.status, answer.document["error_code"]) == (400, "MSS.00010009")


async def test_a_path_that_is_no_api_is_a_gateway_404(client: Any) -> None:
    """APIGW.0101, in JSON."""
    answer = await client.call("GET", "/some/where")

    assert (answer.status, answer.document["error_code"]) == (404, "APIGW.0101")


async def test_an_app_user_id_is_kept_and_must_be_plain(client: Any) -> None:
    """X-App-UserId comes back with the job; one that is too long is refused."""
    headers = {"X-Auth-Token": client.simulator.options.token}

    for app_user_id, status in (("studio-7", 200), ("x" * 257, 400)):
        named = headers | {"X-App-UserId": app_user_id}
        answer = await client.request("POST", client.jobs_url, json={"name": "anna"}, headers=named)
        assert answer.status == status

    assert [job["app_user_id"] for job in (await client.call("GET")).document["jobs"]] == ["studio-7"]


@pytest.mark.parametrize(
    ("query", "count", "numbers"),
    [
        ("tag=tag-3", 1, [3]),
        ("tag=tag", 0, []),
        ("batch_name=batch-1", 2, [1, 3]),
        ("name=avatar-4&state=JOB_SUCCESS,WAIT_FILE_UPLOAD", 1, [4]),
        ("state=JOB_SUCCESS", 0, []),
        ("limit=2&offset=1", 5, [1, 2]),
        ("sort_dir=desc&limit=1&sort_key=update_time", 5, [4]),
        ("create_since=2026-11-23T08:00:03Z", 2, [3, 4]),
        ("create_until=2026-11-23T08:00:00Z", 1, [0]),
        ("update_since=2026-11-23T08:00:04Z&update_until=2026-11-23T08:00:04Z", 1, [4]),
        ("is_flexus=true", 1, [0]),
        ("is_flexus=false&is_live_copy=false&is_ondemand_resource=false", 4, [1, 2, 3, 4]),
    ],
)
async def test_list_filters_sorts_and_pages(client: Any, query: str, count: int, numbers: list[int]) -> None:
    """Every filter is exact, count is the total, pages follow offset and limit."""
    for number in range(5):
        fields = {
            "batch_name": f"batch-{number % 2}",
            "tags": ["all", f"tag-{number}"],
            "is_flexus": not number,
        }
        await client.create(name=f"avatar-{number}", **fields)
        client.clock.now += 1

    page = (await client.call("GET", f"?{query}")).document

    assert page["count"] == count
    assert [job["name"] for job in page["jobs"]] == [f"avatar-{number}" for number in numbers]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "offset=-1",
        "sort_dir=up",
        "sort_key=name",
        "create_since=now",
        "tag=" + "x" * 257,
    ],
)
async def test_a_query_out_of_range_is_a_400(client: Any, query: str) -> None:
    """The limits of metastudio-protocol section 1.2 hold."""
    answer = await client.call("GET", f"?{query}")

    assert (answer.status, answer.document["error_code"]) == (400, "MSS.00000003")


async def test_list_and_show_never_tell_upload_urls(client: Any) -> None:
    """Only create and update do."""
    job_id = (await client.create())["job_id"]

    shown = (await client.call("GET", f"/{job_id}")).body + (await client.call("GET")).body

    assert b"upload_url" not in shown


async def test_urls_can_come_capped_shuffled_and_only_as_asked_for(start: Any) -> None:
    """The deviations a client must survive."""
    client = await start(cap_urls=50, world=World(url_order="shuffled"), can_omit_urls=True, seed=1)

    created = await client.create(video_multipart_count=60)

    numbers = part_numbers(created["training_video_upload_url"])
    assert len(set(numbers)) == 50
    assert numbers != sorted(numbers)
    assert not {"action_video_upload_url", "audio_upload_url"} & set(created)


async def test_asked_for_urls_are_there_though_others_are_omitted(start: Any) -> None:
    """An action part count and an audio source ask for theirs."""
    client = await start(can_omit_urls=True)

    created = await client.create(action_video_multipart_count=1, audio_source_type="AUDIO")

    assert {"action_video_upload_url", "audio_upload_url"} <= set(created)


@pytest.mark.parametrize(("is_lenient", "status"), [(False, 400), (True, 200)])
async def test_update_while_uploading_is_an_option(start: Any, is_lenient: bool, status: int) -> None:
    """The API page and the guide contradict each other: an option says which one holds."""
    client = await start(world=World(update_allowed="always" if is_lenient else "failed-review"))
    job_id = (await client.create())["job_id"]

    answer = await client.call("PUT", f"/{job_id}", {"video_multipart_count": 2, "name": "berta"})

    assert answer.status == status
    assert client.job(job_id).name == ("berta" if is_lenient else "anna")
    assert len(answer.document.get("training_video_upload_url", [])) == (2 if is_lenient else 0)


async def test_update_within_the_same_second_gives_urls_that_are_not_used_up(start: Any) -> None:
    """A one-time URL that stored something is replaced by one that takes a body again."""
    client = await start(world=World(update_allowed="always"))
    created = await client.create()
    await client.put(created["cover_upload_url"], b"first")

    fresh = (await client.call("PUT", f"/{created['job_id']}", {})).document
    answer = await client.put(fresh["cover_upload_url"], b"second")

    assert answer.status == 200
    assert client.job(created["job_id"]).objects["cover"].read_bytes() == b"second"


async def test_update_may_drop_parts_that_were_not_confirmed(start: Any) -> None:
    """The old upload is gone, the fresh one is empty."""
    client = await start(world=World(update_allowed="always", update_keeps="nothing", put_again="overwrite"))
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")

    await client.call("PUT", f"/{created['job_id']}", {})

    assert (await client.command(created["job_id"], "GET_MULTIPART_UPLOADED"))["multipart_data"] == []
    assert (await client.put(created["training_video_upload_url"][0], b"film")).status == 404


async def test_delete_forgets_the_job_and_its_files(client: Any) -> None:
    """Afterwards show is a 404, and the old part URLs are NoSuchUpload."""
    created = await client.create(video_multipart_count=2)
    await client.put(created["cover_upload_url"], b"cover")
    cover = client.job(created["job_id"]).objects["cover"]

    deleted = await client.call("DELETE", f"/{created['job_id']}")
    late = await client.put(created["training_video_upload_url"][0], b"film")

    assert (deleted.status, (await client.call("GET", f"/{created['job_id']}")).status) == (200, 404)
    assert (late.status, b"NoSuchUpload" in late.body, cover.exists()) == (404, True, False)
    assert ([job.is_deleted for job in client.simulator.all_jobs], client.simulator.jobs) == ([True], [])


async def test_delete_is_refused_under_review_and_after_the_first_review(client: Any) -> None:
    """AUTO_VERIFYING is not in the API page's list; MANUAL_VERIFYING is, but the guide excludes it."""
    job_id = await client.submitted()
    reviewing = await client.call("DELETE", f"/{job_id}")
    client.clock.now += 7

    passed = await client.call("DELETE", f"/{job_id}")

    assert (reviewing.status, passed.status) == (400, 400)
    assert "AUTO_VERIFYING" in reviewing.document["error_msg"]
    assert "MANUAL_VERIFYING" in passed.document["error_msg"]


async def test_throttling_is_per_api_and_ends_after_its_window(start: Any) -> None:
    """429 APIGW.0308 once the writes of one second are used up; reads have their own count."""
    client = await start(writes_per_second=2, reads_per_second=5, retry_after="seconds")
    statuses = [(await client.call("POST", body={"name": "anna"})).status for _ in range(2)]

    throttled = await client.call("POST", body={"name": "anna"})
    read = await client.call("GET")
    client.clock.now += 1.1
    later = await client.call("POST", body={"name": "anna"})

    assert (statuses, throttled.status, read.status, later.status) == ([200, 200], 429, 200, 200)
    assert (throttled.document["error_code"], throttled.headers["retry-after"]) == ("APIGW.0308", "1")
