"""The bodies and queries made from our own words."""

from __future__ import annotations

import json

import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.metastudio.wire import Command, JobQuery, create_body, update_body

FULL = Avatar.model_validate(
    {
        "id": "anna",
        "name": "Anna",
        "training_video": "/f/anna.mp4",
        "action_video": "/f/anna-actions.mp4",
        "cover": "/f/anna.png",
        "contact": "ops@example.com",
        "command_message": "UPLOAD_VIDEO",
        "video_multipart_count": 3,
        "is_background_replacement": False,
        "tags": ["studio", "x"],
        "model_version": "V3.2",
        "is_ondemand_resource": True,
        "is_flexus": False,
        "is_fast_flexus": False,
        "is_live_copy": False,
        "is_only_human_model": False,
        "audio_source_type": "VIDEO",
        "voice_properties": {"job_tag": "NEWS", "sex": "FEMALE", "language": "CN"},
        "supported_service": ["VIDEO_2D", "LIVE_2D"],
        "app_user_id": "studio-7",
    }
)
COUNTS = {AssetKind.TRAINING_VIDEO: 7, AssetKind.ACTION_VIDEO: 2, AssetKind.COVER: 1}


def test_create_sends_every_field_of_the_avatar_and_nothing_of_ours():
    """No path, no id, no user id; our tag comes behind the avatar's own."""
    body = create_body(FULL, batch_name="b", tag="orch:1", part_counts=COUNTS)

    assert body == {
        "name": "Anna",
        "contact": "ops@example.com",
        "command_message": "UPLOAD_VIDEO",
        "video_multipart_count": 7,
        "action_video_multipart_count": 2,
        "is_background_replacement": False,
        "batch_name": "b",
        "tags": ["studio", "x", "orch:1"],
        "model_version": "V3.2",
        "is_ondemand_resource": True,
        "is_flexus": False,
        "is_fast_flexus": False,
        "is_live_copy": False,
        "is_only_human_model": False,
        "audio_source_type": "VIDEO",
        "voice_properties": {"job_tag": "NEWS", "sex": "FEMALE", "language": "CN"},
        "supported_service": ["VIDEO_2D", "LIVE_2D"],
    }
    assert json.loads(json.dumps(body)) == body


def test_what_the_manifest_leaves_out_is_not_sent():
    """So the service's own defaults hold."""
    avatar = Avatar(name="Anna", training_video="/f/anna.mp4")

    body = create_body(avatar, batch_name="b", tag="orch:1", part_counts={AssetKind.TRAINING_VIDEO: 1})

    assert body == {"name": "Anna", "video_multipart_count": 1, "batch_name": "b", "tags": ["orch:1"]}


def test_update_leaves_out_what_cannot_be_changed():
    """Five fields are fixed when the job is made (metastudio-protocol section 1.4)."""
    created = create_body(FULL, batch_name="b", tag="orch:1", part_counts=COUNTS)
    updated = update_body(FULL, batch_name="b", tag="orch:1", part_counts=COUNTS)

    assert set(created) - set(updated) == {
        "model_version",
        "is_flexus",
        "is_live_copy",
        "is_ondemand_resource",
        "is_only_human_model",
    }


def test_update_is_for_the_video_unless_the_avatar_says_otherwise():
    """The service's default would be another."""
    plain = Avatar(name="Anna", training_video="/f/anna.mp4")

    assert update_body(plain, batch_name="b", tag="t", part_counts={})["command_message"] == "UPDATE_VIDEO"
    assert update_body(FULL, batch_name="b", tag="t", part_counts={})["command_message"] == "UPLOAD_VIDEO"


def test_a_query_asks_for_what_was_given_and_a_stable_order():
    """States are one comma-separated value."""
    query = JobQuery(tag="orch:1", state=("WAIT_FILE_UPLOAD", "TRAINING"), offset=100)

    assert dict(query.pairs()) == {
        "tag": "orch:1",
        "state": "WAIT_FILE_UPLOAD,TRAINING",
        "sort_key": "create_time",
        "sort_dir": "asc",
        "offset": "100",
        "limit": "100",
    }


@pytest.mark.parametrize("command", list(Command))
def test_only_commands_that_get_are_reads(command):
    """Everything else changes the job and is never repeated blindly."""
    assert command.is_read == command.value.startswith("GET_")
