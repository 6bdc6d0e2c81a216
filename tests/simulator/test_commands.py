"""Commands answer HTTP 200 and say in the body whether they worked."""

from hashlib import md5
from typing import Any

import pytest

from orchestrator.simulator import World

PART = b"x" * 102400


def refusal(answer: dict[str, Any]) -> str:
    """Return why a command was refused."""
    assert answer["commond_result"] == "EXCUTE_FAILED", answer
    assert answer["excute_failed_msg"] == answer["error_info"]["error_msg"]
    return str(answer["excute_failed_msg"])


async def test_confirm_joins_the_parts_in_their_order(client: Any) -> None:
    """Whatever the order of the PUTs, the object is part 1, 2, 3."""
    created = await client.create(video_multipart_count=3)
    bodies = [PART + b"1", PART + b"2", b"end"]
    for number in (2, 0, 1):
        await client.put(created["training_video_upload_url"][number], bodies[number])

    answer = await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    job = client.job(created["job_id"])
    digest = md5(b"".join(md5(body).digest() for body in bodies)).hexdigest()
    assert answer == {"commond_result": "EXCUTE_SUCCESS"}
    assert job.objects["training_video"].read_bytes() == b"".join(bodies)
    assert job.etags["training_video"] == f"{digest}-3"


async def test_the_parts_listed_are_those_stored(client: Any) -> None:
    """Part numbers are text and ETags come without quotes."""
    created = await client.create(video_multipart_count=2)
    await client.put(created["training_video_upload_url"][1], b"end")

    answer = await client.command(created["job_id"], "GET_MULTIPART_UPLOADED")

    assert answer["multipart_data"] == [{"part_number": "2", "etag": md5(b"end").hexdigest()}]


async def test_the_list_of_parts_can_be_capped(start: Any) -> None:
    """The definitions cap multipart_data at 50, though more parts are allowed."""
    client = await start(cap_listed_parts=2)
    created = await client.create(video_multipart_count=3)
    for url in created["training_video_upload_url"]:
        await client.put(url, PART)

    answer = await client.command(created["job_id"], "GET_MULTIPART_UPLOADED")

    assert [part["part_number"] for part in answer["multipart_data"]] == ["1", "2"]


async def test_confirm_is_refused_while_a_part_is_missing(client: Any) -> None:
    """It says how many and which."""
    created = await client.create(video_multipart_count=3)
    await client.put(created["training_video_upload_url"][0], PART)

    answer = await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    assert "2 of 3 parts are missing, the first is 2" in refusal(answer)


async def test_a_small_part_is_found_at_confirm_only(client: Any) -> None:
    """OBS checks sizes when it joins; the last part may be small."""
    created = await client.create(video_multipart_count=2)
    statuses = [(await client.put(url, b"small")).status for url in created["training_video_upload_url"]]

    answer = await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    assert statuses == [200, 200]
    assert refusal(answer).startswith("EntityTooSmall")
    assert answer["error_info"]["error_code"] == "EntityTooSmall"


@pytest.mark.parametrize("command", ["CONFIRM_MULTIPART_UPLOADED", "GET_MULTIPART_UPLOADED"])
async def test_after_confirm_there_is_no_upload(client: Any, command: str) -> None:
    """A second confirm and a listing are refused."""
    job_id = await client.uploaded()

    assert "completed" in refusal(await client.command(job_id, command))
    assert client.job(job_id).confirmations == {"training_video": 1}


@pytest.mark.parametrize(("mode", "count"), [("works", 1), ("empty", 0)])
async def test_the_ambiguous_action_listing_lists_or_stays_empty(start: Any, mode: str, count: int) -> None:
    """What GET_ACTION_VIDEO_MULTIPART_UPLOADED answers is not documented."""
    client = await start(world=World(action_part_list=mode))
    created = await client.create()
    await client.put(created["action_video_upload_url"][0], b"action")

    answer = await client.command(created["job_id"], "GET_ACTION_VIDEO_MULTIPART_UPLOADED")

    assert len(answer["multipart_data"]) == count


async def test_the_ambiguous_action_listing_may_be_refused(start: Any) -> None:
    """The third way a tenant may see it."""
    client = await start(world=World(action_part_list="refused"))
    created = await client.create()

    answer = await client.command(created["job_id"], "GET_ACTION_VIDEO_MULTIPART_UPLOADED")

    assert "not supported" in refusal(answer)


async def test_submit_needs_the_confirmed_video(client: Any) -> None:
    """Stored parts alone are no video."""
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")
    too_early = await client.command(created["job_id"], "SUBMITVERIFYING")
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    answer = await client.command(created["job_id"], "SUBMITVERIFYING")

    assert "not uploaded and confirmed" in refusal(too_early)
    assert answer == {"commond_result": "EXCUTE_SUCCESS"}


async def test_submit_is_refused_while_action_parts_are_not_confirmed(client: Any) -> None:
    """The action video is confirmed on its own before submit."""
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")
    await client.put(created["action_video_upload_url"][0], b"action")
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")
    too_early = await client.command(created["job_id"], "SUBMITVERIFYING")

    await client.command(created["job_id"], "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED")
    await client.command(created["job_id"], "SUBMITVERIFYING")

    job = client.job(created["job_id"])
    assert "not confirmed" in refusal(too_early)
    assert (job.objects["action_video"].read_bytes(), job.submissions) == (b"action", 1)


@pytest.mark.parametrize("command", ["SUBMITVERIFYING", "CONFIRM_MULTIPART_UPLOADED", "DELETE_JOB_VIDEO"])
async def test_a_submitted_job_takes_no_more_uploads(client: Any, command: str) -> None:
    """The state is named in the refusal."""
    job_id = await client.submitted()

    assert "AUTO_VERIFYING" in refusal(await client.command(job_id, command))
    assert client.job(job_id).submissions == 1


async def test_the_letter_is_confirmed_once_it_is_there(client: Any) -> None:
    """CONFIRM_AUTHORIZATION_LETTER without a letter is refused."""
    created = await client.create()
    too_early = await client.command(created["job_id"], "CONFIRM_AUTHORIZATION_LETTER")
    await client.put(created["grant_file_upload_url"], b"letter")

    answer = await client.command(created["job_id"], "CONFIRM_AUTHORIZATION_LETTER")

    assert "letter" in refusal(too_early)
    assert answer == {"commond_result": "EXCUTE_SUCCESS"}
    assert client.job(created["job_id"]).letters_confirmed == 1


async def test_some_tenants_lack_the_letter_command(start: Any) -> None:
    """Then it is refused, letter or not."""
    client = await start(world=World(confirm_letter="refused"))
    created = await client.create()
    await client.put(created["grant_file_upload_url"], b"letter")

    answer = await client.command(created["job_id"], "CONFIRM_AUTHORIZATION_LETTER")

    assert "not supported" in refusal(answer)


async def test_delete_job_video_takes_the_videos_away(client: Any) -> None:
    """The job stays; its video has to be uploaded anew."""
    job_id = await client.uploaded()

    await client.command(job_id, "DELETE_JOB_VIDEO")

    assert client.job(job_id).objects == {}
    assert "not uploaded" in refusal(await client.command(job_id, "SUBMITVERIFYING"))


async def test_commands_of_whitelisted_users_are_refused(client: Any) -> None:
    """CONFIRM_ACCEPT and its like are known but not for this user."""
    created = await client.create()

    assert "whitelist" in refusal(await client.command(created["job_id"], "CONFIRM_ACCEPT"))


async def test_an_unknown_command_is_a_400_and_an_unknown_job_a_404(client: Any) -> None:
    """Only refusals of known commands on known jobs are an HTTP 200."""
    created = await client.create()

    unknown = await client.call("POST", f"/{created['job_id']}/command", {"command": "CONFIRM"})
    missing = await client.call("POST", "/nobody/command", {"command": "SUBMITVERIFYING"})

    assert (unknown.status, missing.status) == (400, 404)
