"""A submitted job goes through review and training by the clock."""

from typing import Any

import pytest

from orchestrator.simulator.footage import sample_footage

WRONG_RESOLUTION = b"YUV4MPEG2 W640 H480 F25:1 Ip C420\nFRAME\n" + bytes(640 * 480 * 3 // 2)
TO_MANUAL_REVIEW = 7
ALL_DAY = 86400


async def test_a_good_job_ends_in_success(client: Any) -> None:
    """Under review, in training, done; the logs tell the way and the model appears."""
    job_id = await client.submitted(sample_footage())
    states = []
    for seconds in (0, TO_MANUAL_REVIEW, 7200, ALL_DAY):
        client.clock.now += seconds
        states.append((await client.show(job_id))["state"])

    shown = await client.show(job_id)

    assert states == ["AUTO_VERIFYING", "MANUAL_VERIFYING", "TRAINING", "JOB_SUCCESS"]
    assert [log["log_type"] for log in shown["operation_logs"]][:4] == [
        "USER_CREATE_JOD",
        "USER_VERIFYING_SUBMITTED",
        "SYSTEM_VERIFY_SUCCESS",
        "ADMIN_VERIFY_SUCCESS",
    ]
    assert (shown["model_resolution"], bool(shown["asset_id"])) == ("1080P", True)


async def test_speed_makes_the_clock_go_faster(start: Any) -> None:
    """A thousand times faster, a second is more than a quarter of an hour."""
    client = await start(speed=10_000)
    job_id = await client.submitted()

    client.clock.now += 10

    assert (await client.show(job_id))["state"] == "JOB_SUCCESS"


async def test_footage_of_a_wrong_resolution_fails_until_it_is_replaced(client: Any) -> None:
    """44005901 with its reason; update, upload, confirm, submit, and it passes."""
    job_id = await client.submitted(WRONG_RESOLUTION)
    client.clock.now += TO_MANUAL_REVIEW
    failed = await client.show(job_id)

    updated = (await client.call("PUT", f"/{job_id}", {"command_message": "UPDATE_VIDEO"})).document
    await client.put(updated["training_video_upload_url"][0], sample_footage())
    await client.command(job_id, "CONFIRM_MULTIPART_UPLOADED")
    await client.command(job_id, "SUBMITVERIFYING")
    client.clock.now += ALL_DAY

    log = failed["operation_logs"][-1]
    assert (failed["state"], log["log_type"], log["error_code"]) == (
        "AUTO_VERIFY_FAILED",
        "SYSTEM_VERIFY_FAILED",
        "44005901",
    )
    assert "resolution" in log["log_description"]
    assert (await client.show(job_id))["state"] == "JOB_SUCCESS"
    assert client.job(job_id).objects["training_video"].read_bytes() == sample_footage()


async def test_the_footage_need_not_be_looked_at(start: Any) -> None:
    """For rehearsals with any bytes."""
    client = await start(is_footage_reviewed=False)
    job_id = await client.submitted(WRONG_RESOLUTION)

    client.clock.now += TO_MANUAL_REVIEW

    assert (await client.show(job_id))["state"] == "MANUAL_VERIFYING"


@pytest.mark.parametrize(
    ("fields", "fault", "seconds", "state"),
    [
        ({"name": "anna review-fail"}, None, TO_MANUAL_REVIEW, "AUTO_VERIFY_FAILED"),
        ({}, "review-fail", TO_MANUAL_REVIEW, "AUTO_VERIFY_FAILED"),
        ({}, "manual-review-fail", 7200, "MANUAL_VERIFY_FAILED"),
    ],
)
async def test_a_scripted_failure_comes_once_per_job(
    client: Any, fields: dict[str, str], fault: str | None, seconds: float, state: str
) -> None:
    """By name or by fault; the same job submitted again passes."""
    client.simulator.faults.script("review", [fault] if fault else [])
    job_id = await client.submitted(**fields)
    client.clock.now += seconds
    failed = (await client.show(job_id))["state"]

    again = await client.command(job_id, "SUBMITVERIFYING")
    client.clock.now += ALL_DAY

    assert (failed, again["commond_result"]) == (state, "EXCUTE_SUCCESS")
    assert (await client.show(job_id))["state"] == "JOB_SUCCESS"


async def test_a_failed_job_may_be_deleted(client: Any) -> None:
    """Also after the manual review."""
    client.simulator.faults.script("review", ["manual-review-fail"])
    job_id = await client.submitted()
    client.clock.now += 7200

    assert (await client.call("DELETE", f"/{job_id}")).status == 200


async def test_missing_papers_fail_the_review_where_they_are_needed(start: Any) -> None:
    """The reason names what is missing."""
    client = await start(needs_id_documents=True)
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")
    await client.put(created["id_card_image1_upload_url"], b"front")
    await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")
    await client.command(created["job_id"], "SUBMITVERIFYING")
    client.clock.now += TO_MANUAL_REVIEW

    shown = await client.show(created["job_id"])

    assert shown["state"] == "AUTO_VERIFY_FAILED"
    assert shown["operation_logs"][-1]["log_description"] == "Not uploaded: grant_file, id_card_image2."


async def test_a_job_with_its_own_audio_needs_it(client: Any) -> None:
    """audio_source_type AUDIO without the zip fails the review."""
    job_id = await client.submitted(audio_source_type="AUDIO")

    client.clock.now += TO_MANUAL_REVIEW

    assert (await client.show(job_id))["state"] == "AUTO_VERIFY_FAILED"
