"""When two files are the same, and which fields of an avatar count as changed."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.entries import (
    Sameness,
    as_known,
    changed_fields,
    sameness_of_content,
    sameness_of_file,
)

KIND = AssetKind.TRAINING_VIDEO
BEFORE = Asset(KIND, "/a/anna.mp4", Fingerprint(100, 7, 1))
SAME, DIFFERENT, OPEN, UNKNOWN = Sameness.SAME, Sameness.DIFFERENT, Sameness.OPEN, Sameness.UNKNOWN


def avatar(**fields: Any) -> Avatar:
    """An avatar with what a manifest must give."""
    return Avatar.model_validate({"name": "Anna", "training_video": "/a/anna.mp4", **fields})


@pytest.mark.parametrize(
    ("planned", "found", "is_it"),
    [
        ((100, 7, 1), (100, 7, 1), True),
        ((100, 7, 1), (100, 7, 2), False),
        ((100, 7, 0), (100, 7, 2), True),
        ((100, 7, 0), (100, 8, 2), False),
        ((100, 7, 0), (99, 7, 2), False),
        ((100, 7, 0), None, False),
    ],
)
def test_a_planned_file_has_its_inode_where_that_is_known(
    planned: tuple[int, int, int], found: tuple[int, int, int] | None, is_it: bool
) -> None:
    """Hosts that share a journal need not see the same one."""
    assert Fingerprint(*planned).fits(None if found is None else Fingerprint(*found)) is is_it


@pytest.mark.parametrize(
    ("path", "fingerprint", "content", "verdict"),
    [
        ("/a/anna.mp4", (100, 7, 1), OPEN, SAME),
        ("/a/anna.mp4", (100, 7, 2), OPEN, SAME),
        ("/a/anna.mp4", (100, 8, 1), OPEN, OPEN),
        ("/a/anna.mp4", (100, 8, 1), SAME, SAME),
        ("/a/anna.mp4", (100, 8, 1), UNKNOWN, UNKNOWN),
        ("/a/anna.mp4", (101, 7, 1), SAME, DIFFERENT),
        ("/b/anna.mp4", (100, 7, 1), OPEN, OPEN),
        ("/b/anna.mp4", (100, 7, 1), DIFFERENT, DIFFERENT),
        ("/b/anna.mp4", (100, 9, 9), SAME, SAME),
    ],
)
def test_a_file_is_judged_by_path_size_and_time_then_by_its_content(
    path: str, fingerprint: tuple[int, int, int], content: Sameness, verdict: Sameness
) -> None:
    """Its inode says nothing from one run to the next."""
    now = Asset(KIND, path, Fingerprint(*fingerprint))

    assert sameness_of_file(BEFORE, now, content) is verdict


def test_a_file_that_was_not_sent_before_is_another() -> None:
    """Whatever comparing would give."""
    assert sameness_of_file(None, BEFORE, SAME) is DIFFERENT


@pytest.mark.parametrize(
    ("sent", "found", "verdict"),
    [
        (["a", "b"], ["a", "b"], SAME),
        (["a", "b"], ["a", "c"], DIFFERENT),
        ([None, "b"], ["a", "b"], UNKNOWN),
        ([None, "b"], ["a", "c"], DIFFERENT),
        ([], [], SAME),
    ],
)
def test_contents_are_compared_part_by_part(
    sent: list[str | None], found: list[str], verdict: Sameness
) -> None:
    """Where nothing is stored, nothing can differ; a part without MD5 proves nothing."""
    assert sameness_of_content(sent, found) is verdict


@pytest.mark.parametrize(
    "written",
    [
        {"video_multipart_count": 7},
        {"action_video_multipart_count": 3},
        {"is_background_replacement": True},
        {"model_version": "V3.2"},
        {"audio_source_type": "VIDEO"},
        {"command_message": "UPLOAD_VIDEO"},
        {"supported_service": ["LIVE_2D", "VIDEO_2D"]},
        {"is_flexus": False, "is_fast_flexus": False, "is_live_copy": False},
        {"is_ondemand_resource": False, "is_only_human_model": False},
        {"tags": []},
    ],
    ids=",".join,
)
def test_a_default_that_is_written_out_and_how_files_are_sent_are_no_change(written: dict[str, Any]) -> None:
    """In either direction, and the journal's words stay."""
    plain, full = avatar(), avatar(**written)

    assert changed_fields(plain, full) == changed_fields(full, plain) == []
    assert as_known(plain, full) == plain


@pytest.mark.parametrize(
    "written",
    [
        {"name": "Bea"},
        {"is_background_replacement": False},
        {"model_version": "V3.3"},
        {"supported_service": ["VIDEO_2D"]},
        {"is_flexus": True, "supported_service": ["VIDEO_2D"]},
        {"is_ondemand_resource": True},
        {"contact": "ops@example.com"},
        {"tags": ["x"]},
    ],
    ids=",".join,
)
def test_what_the_service_would_read_otherwise_is_a_change(written: dict[str, Any]) -> None:
    """And is taken as the manifest writes it."""
    plain, changed = avatar(), avatar(**written)

    assert changed_fields(plain, changed) == list(written) or "is_flexus" in written
    assert set(changed_fields(plain, changed)) == set(written)
    assert as_known(plain, changed) == changed
