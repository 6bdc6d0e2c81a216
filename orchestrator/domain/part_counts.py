"""How many parts each video of an avatar gets (design section 5)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.segments import auto_part_count, explicit_part_count, largest_part_count


def part_counts(avatar: Avatar, assets: Sequence[Asset], part_bytes: int) -> dict[AssetKind, int]:
    """Parts by kind for the videos among *assets*; *part_bytes* is what `auto` aims at.

    An action video too small for a count it inherits gets fewer parts. Raises SegmentError when a count the
    manifest gives cannot be.
    """
    return {asset.kind: _part_count(avatar, asset, part_bytes) for asset in assets if asset.kind.is_multipart}


def total_segments(avatar: Avatar, assets: Sequence[Asset], part_bytes: int) -> int:
    """Segments of all *assets* together: the parts of the videos, and one for every other file."""
    return sum(_part_count(avatar, asset, part_bytes) if asset.kind.is_multipart else 1 for asset in assets)


def _part_count(avatar: Avatar, asset: Asset, part_bytes: int) -> int:
    requested, own = avatar.video_multipart_count, avatar.action_video_multipart_count
    is_action = asset.kind is AssetKind.ACTION_VIDEO
    if is_action and own is not None:
        requested = own
    if requested == "auto":
        return auto_part_count(asset.size, part_bytes)
    if is_action and own is None:
        return explicit_part_count(asset.size, min(requested, largest_part_count(asset.size)))
    return explicit_part_count(asset.size, requested)
