"""What the documents leave open is a value of the world, and the simulator behaves as it says."""

from __future__ import annotations

from hashlib import md5
from typing import Any, get_args, get_type_hints

import pytest

from orchestrator.simulator import DIMENSIONS, ObjectStoreOptions, SimulatorOptions, World, parse_world

PART = b"x" * 102400


def test_the_defaults_are_the_first_values() -> None:
    """As the table of the worlds has them."""
    hints = get_type_hints(World)

    assert World().values == {name: values[0] for name, values in DIMENSIONS.items()}
    assert all(value == get_args(hints[name])[0] for name, value in vars(World()).items())


@pytest.mark.parametrize(
    "text", ["", "list-tags=hidden,etag=opaque", "update-allowed=always,put-again=overwrite"]
)
def test_a_world_is_read_from_the_text_it_writes(text: str) -> None:
    """What is printed can be pasted."""
    assert parse_world(str(parse_world(text))) == parse_world(text)


def test_a_world_names_only_what_is_not_the_default() -> None:
    """Spaces and repetitions do no harm."""
    assert str(parse_world(" etag = opaque, list-tags=shown,etag=opaque,")) == "etag=opaque"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "tags=hidden",
            r"There is no 'tags' in a world; known are .*list-tags=shown\|hidden, .*confirm-letter",
        ),
        ("list-tags=maybe", "list-tags must be shown or hidden, not 'maybe'"),
        ("etag", "etag must be md5 or opaque or absent, not ''"),
        ("etag=absent,etag=opaque", "etag cannot be both absent and opaque"),
    ],
)
def test_what_is_no_world_is_named_with_what_there_is(text: str, sentence: str) -> None:
    """A ValueError an operator can act on."""
    with pytest.raises(ValueError, match=sentence):
        parse_world(text)


def test_an_object_store_of_its_own_has_its_own_etags() -> None:
    """The simulator cannot change what another server answers."""
    store = ObjectStoreOptions(url="http://127.0.0.1:1", bucket="b", ak="a", sk="s")

    with pytest.raises(ValueError, match="built-in store alone"):
        SimulatorOptions(object_store=store, world=World(etag="absent"))


@pytest.mark.parametrize(("value", "names"), [("honoured", ["anna"]), ("ignored", ["anna", "berta"])])
@pytest.mark.parametrize("query", ["?tag=mine", "?batch_name=night"])
async def test_list_may_not_filter(start: Any, value: Any, names: list[str], query: str) -> None:
    """Other jobs come back as well, where `tag` and `batch_name` are ignored."""
    client = await start(world=World(list_filters=value))
    await client.create(tags=["mine"], batch_name="night")
    await client.create(name="berta", tags=["other"], batch_name="day")

    listed = (await client.call("GET", query)).document

    assert ([job["name"] for job in listed["jobs"]], listed["count"]) == (names, len(names))


@pytest.mark.parametrize(
    ("world", "in_list", "in_show"),
    [
        (World(), True, True),
        (World(list_tags="hidden"), False, True),
        (World(show_tags="hidden"), True, False),
    ],
)
async def test_tags_may_be_hidden(start: Any, world: World, in_list: bool, in_show: bool) -> None:
    """In list, in show, or in neither; the filter works all the same."""
    client = await start(world=world)
    job_id = (await client.create(tags=["mine"]))["job_id"]

    (listed,) = (await client.call("GET", "?tag=mine")).document["jobs"]

    assert ("tags" in listed, "tags" in await client.show(job_id)) == (in_list, in_show)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("joined", (True, True, True)),
        ("after-review", (False, False, True)),
        ("never", (False, False, False)),
    ],
)
async def test_download_urls_come_when_the_world_says(
    start: Any, value: Any, expected: tuple[bool, ...]
) -> None:
    """Once the object exists, once a review has ended, or never."""
    client = await start(world=World(download_urls=value))
    job_id = await client.uploaded(name="review-fail")
    seen = ["training_video_download_url" in await client.show(job_id)]
    await client.command(job_id, "SUBMITVERIFYING")
    seen.append("training_video_download_url" in await client.show(job_id))
    client.clock.now += 7

    seen.append("training_video_download_url" in await client.show(job_id))

    assert tuple(seen) == expected


@pytest.mark.parametrize(
    ("value", "parts"),
    [("refused", None), ("empty", []), ("full", [{"part_number": "1", "etag": md5(b"film").hexdigest()}])],
)
async def test_the_part_list_after_the_join(start: Any, value: Any, parts: list[Any] | None) -> None:
    """Refused, empty, or as it was."""
    client = await start(world=World(part_list_after_join=value))
    job_id = await client.uploaded()

    answer = await client.command(job_id, "GET_MULTIPART_UPLOADED")

    assert answer.get("multipart_data") == parts
    assert (answer["commond_result"] == "EXCUTE_SUCCESS") is (parts is not None)


@pytest.mark.parametrize(("value", "result"), [("refused", "EXCUTE_FAILED"), ("accepted", "EXCUTE_SUCCESS")])
async def test_a_second_confirm_and_submit(start: Any, value: Any, result: str) -> None:
    """Accepted or not, nothing is joined or submitted twice."""
    client = await start(world=World(second_confirm=value, second_submit=value))
    job_id = await client.uploaded()
    confirmed = await client.command(job_id, "CONFIRM_MULTIPART_UPLOADED")
    await client.command(job_id, "SUBMITVERIFYING")

    submitted = await client.command(job_id, "SUBMITVERIFYING")

    job = client.job(job_id)
    assert (confirmed["commond_result"], submitted["commond_result"]) == (result, result)
    assert (job.confirmations, job.submissions) == ({"training_video": 1}, 1)


async def test_a_confirm_of_what_was_never_joined_is_no_second_one(start: Any) -> None:
    """Nor of what was deleted since."""
    client = await start(world=World(second_confirm="accepted"))
    job_id = await client.uploaded()
    await client.command(job_id, "DELETE_JOB_VIDEO")

    answer = await client.command(job_id, "CONFIRM_MULTIPART_UPLOADED")

    assert answer["commond_result"] == "EXCUTE_FAILED"


@pytest.mark.parametrize(
    ("value", "statuses"), [("failed-review", (400, 200)), ("always", (200, 200)), ("never", (400, 400))]
)
async def test_update_is_allowed_where_the_world_says(
    start: Any, value: Any, statuses: tuple[int, int]
) -> None:
    """While uploading, after a failed review, or never; never in training."""
    client = await start(world=World(update_allowed=value))
    waiting = (await client.create())["job_id"]
    failed, trained = await client.submitted(name="review-fail"), await client.submitted()
    client.clock.now += 7

    answers = [await client.call("PUT", f"/{job_id}", {}) for job_id in (waiting, failed, trained)]

    assert tuple(answer.status for answer in answers) == (*statuses, 400)


@pytest.mark.parametrize(
    ("value", "parts", "objects"),
    [("everything", {1}, {"cover", "action_video"}), ("parts", {1}, set()), ("nothing", set(), set())],
)
async def test_an_update_keeps_what_the_world_says(
    start: Any, value: Any, parts: set[int], objects: set[str]
) -> None:
    """Parts stay under the same upload; its fresh URLs take a body again though the old ones are used up."""
    client = await start(world=World(update_allowed="always", update_keeps=value))
    created = await client.create(video_multipart_count=2, action_video_multipart_count=1)
    await client.put(created["training_video_upload_url"][0], PART)
    await client.put(created["action_video_upload_url"][0], b"action")
    await client.put(created["cover_upload_url"], b"cover")
    await client.command(created["job_id"], "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED")

    fresh = (await client.call("PUT", f"/{created['job_id']}", {})).document

    job = client.job(created["job_id"])
    assert (set(job.parts["training_video"]), set(job.objects)) == (parts, objects)
    assert (await client.put(fresh["training_video_upload_url"][0], PART)).status == 200
    assert (await client.put(fresh["action_video_upload_url"][0], b"action")).status == 200


@pytest.mark.parametrize("value", ["md5", "opaque", "absent"])
async def test_etags_are_md5s_or_opaque_or_absent(start: Any, value: Any) -> None:
    """Opaque ones are the same in the answer, in the part list and on the object."""
    client = await start(world=World(etag=value))
    created = await client.create()

    put = (
        (await client.put(created["training_video_upload_url"][0], b"film"))
        .headers.get("etag", "")
        .strip('"')
    )
    await client.put(created["cover_upload_url"], b"cover")

    listed = await client.command(created["job_id"], "GET_MULTIPART_UPLOADED")
    cover = (await client.show(created["job_id"]))["cover_download_url"]
    seen = {put, listed["multipart_data"][0]["etag"]}
    looked_at = (await client.request("HEAD", cover)).headers["etag"].strip('"')
    assert ("" in seen) is (value == "absent")
    assert (md5(b"film").hexdigest() in seen) is (value != "opaque")
    assert (looked_at == md5(b"cover").hexdigest()) is (value != "opaque")
    assert len(seen) == (2 if value == "absent" else 1)


@pytest.mark.parametrize(("value", "is_present"), [("present", True), ("absent", False)])
async def test_request_ids_may_be_absent(start: Any, value: Any, is_present: bool) -> None:
    """From good answers and refusals, of the service and of the store."""
    client = await start(world=World(request_id=value))
    created = await client.create()

    answers = [
        await client.put(created["cover_upload_url"], b"cover"),
        await client.put(created["cover_upload_url"], b"again"),
        await client.call("GET"),
        await client.call("GET", "/unknown"),
    ]

    assert {answer.status for answer in answers} == {200, 403, 404}
    names = {"x-request-id", "x-obs-request-id"}
    assert all((names <= set(answer.headers)) is is_present for answer in answers)
    assert all(is_present or not names & set(answer.headers) for answer in answers)


@pytest.mark.parametrize(("value", "status"), [("documented", 200), ("waiting-only", 400)])
async def test_only_waiting_jobs_may_be_deletable(start: Any, value: Any, status: int) -> None:
    """A failed review is documented as a state in which a job can be deleted."""
    client = await start(world=World(delete_allowed=value))
    waiting = (await client.create())["job_id"]
    failed = await client.submitted(name="review-fail")
    client.clock.now += 7

    answers = [await client.call("DELETE", f"/{job_id}") for job_id in (waiting, failed)]

    assert [answer.status for answer in answers] == [200, status]
