"""How many parts the videos of an avatar get."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.assets import (
    MIN_PART_BYTES,
    Asset,
    AssetKind,
    Fingerprint,
    SegmentError,
    part_counts,
    total_segments,
)
from orchestrator.domain.avatar import Avatar

PART_BYTES = 1_000_000


def asset(kind: AssetKind, size: int) -> Asset:
    """An asset of *size* bytes."""
    return Asset(kind, f"/footage/{kind}", Fingerprint(size, 1, 1))


def counts(
    video_bytes: int = 10_000_000, action_bytes: int = 4_000_000, **fields: Any
) -> dict[AssetKind, int]:
    """The counts of an avatar with both videos."""
    avatar = Avatar(name="Anna", training_video="a.mp4", action_video="b.mp4", **fields)
    assets = [asset(AssetKind.TRAINING_VIDEO, video_bytes), asset(AssetKind.ACTION_VIDEO, action_bytes)]
    return part_counts(avatar, assets, PART_BYTES)


@pytest.mark.parametrize(
    ("fields", "training", "action"),
    [
        ({}, 10, 4),
        ({"video_multipart_count": 7}, 7, 7),
        ({"video_multipart_count": 7, "action_video_multipart_count": 2}, 7, 2),
        ({"video_multipart_count": 7, "action_video_multipart_count": "auto"}, 7, 4),
        ({"video_multipart_count": "auto", "action_video_multipart_count": 3}, 10, 3),
    ],
)
def test_the_action_video_inherits_the_count_unless_it_has_its_own(
    fields: dict[str, Any], training: int, action: int
) -> None:
    """`auto` looks at each file's own size."""
    assert counts(**fields) == {AssetKind.TRAINING_VIDEO: training, AssetKind.ACTION_VIDEO: action}


def test_an_inherited_count_too_large_for_the_action_video_is_lowered() -> None:
    """The count was chosen for the other file."""
    found = counts(action_bytes=3 * MIN_PART_BYTES, video_multipart_count=20)

    assert found == {AssetKind.TRAINING_VIDEO: 20, AssetKind.ACTION_VIDEO: 3}


def test_a_count_given_for_the_action_video_itself_is_not_lowered() -> None:
    """What somebody wrote down is kept or refused, never changed."""
    with pytest.raises(SegmentError, match="use at most 3"):
        counts(action_bytes=3 * MIN_PART_BYTES, action_video_multipart_count=4)


def test_a_count_too_large_for_the_training_video_is_refused() -> None:
    """The training video inherits nothing."""
    with pytest.raises(SegmentError, match="use at most 3"):
        counts(video_bytes=3 * MIN_PART_BYTES, video_multipart_count=4)


def test_every_other_file_is_one_segment() -> None:
    """Only videos come in parts."""
    avatar = Avatar(name="Anna", training_video="a.mp4", cover="c.png", grant_file="g.pdf")
    assets = [
        asset(kind, 5_000_000) for kind in (AssetKind.TRAINING_VIDEO, AssetKind.COVER, AssetKind.GRANT_FILE)
    ]

    assert part_counts(avatar, assets, PART_BYTES) == {AssetKind.TRAINING_VIDEO: 5}
    assert total_segments(avatar, assets, PART_BYTES) == 7
