"""The assets of an entry: their kinds, the local files behind them, and the byte ranges in which they are sent.

Design section 5 defines how many segments a file gets. The limits follow metastudio-protocol section 5.2: every part
but the last has at least 100 KiB, and none is larger than 5 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from orchestrator.domain.avatar import Avatar

MAX_PART_COUNT = 1000
MIN_PART_BYTES = 100 * 1024
MAX_PART_BYTES = 5 * 1024**3
DEFAULT_PART_BYTES = 32 * 1024**2
#: The API definitions cap the URL arrays at this number, although counts up to 1000 are allowed (section 0, fact 9).
MAX_AUTO_PARTS = 50


class AssetKind(StrEnum):
    """The role a local file plays in a training job; also the manifest's field name for it."""

    TRAINING_VIDEO = "training_video"
    ACTION_VIDEO = "action_video"
    AUDIO = "audio"
    COVER = "cover"
    ID_CARD_IMAGE1 = "id_card_image1"
    ID_CARD_IMAGE2 = "id_card_image2"
    GRANT_FILE = "grant_file"
    PRE_BEAUTY_IMAGE = "pre_beauty_image"
    POST_BEAUTY_IMAGE = "post_beauty_image"

    #: True when the service issues one URL per segment (metastudio-protocol section 1.1).
    is_multipart: bool
    #: True for files that belong to one person or one film; letters and covers may be shared.
    is_personal: bool
    #: The Content-Type that is part of the URL's signature (metastudio-protocol section 0, fact 6).
    content_type: str

    def __init__(self, field: str) -> None:
        """Set the attributes once, as they are read for every file: a property would cost a call each time."""
        self.is_multipart = field in {"training_video", "action_video"}
        self.is_personal = self.is_multipart or field in {"audio", "id_card_image1", "id_card_image2"}
        self.content_type = "application/zip" if field == "audio" else "application/octet-stream"


class FileStatus(Protocol):
    """The part of `os.stat_result` that is used here."""

    @property
    def st_size(self) -> int:
        """The length in bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """The time of the last write, in nanoseconds."""

    @property
    def st_ino(self) -> int:
        """The inode number."""


class Fingerprint(NamedTuple):
    """The fingerprint by which a planned file is recognized: size in bytes, mtime in nanoseconds, inode.

    An inode of 0 is unknown: hosts that share a journal may see different ones, and some file systems have none.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: FileStatus) -> Fingerprint:
        """Return the fingerprint of the file with this *status*."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    def fits(self, found: Fingerprint | None) -> bool:
        """True when *found* is the fingerprint of the file that was planned with this one; None means no file."""
        return self == found or (found is not None and not self.inode and self[:2] == found[:2])


@dataclass(frozen=True, slots=True)
class Asset:
    """One local file of an entry."""

    kind: AssetKind
    path: str
    fingerprint: Fingerprint

    @property
    def size(self) -> int:
        """The planned length in bytes."""
        return self.fingerprint.size


class SegmentError(ValueError):
    """A file that cannot be cut as requested; the message names a count that works, if there is one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A byte range of an asset that goes to one presigned URL."""

    part_number: int
    offset: int
    length: int


def plan_segments(asset_bytes: int, part_count: int) -> Iterator[Segment]:
    """Cut *asset_bytes* into *part_count* ranges that differ by at most one byte.

    If that would make them smaller than a part may be, only the last one is smaller than that.
    """
    length, longer = divmod(asset_bytes, part_count)
    if length < MIN_PART_BYTES <= (asset_bytes - 1) // max(part_count - 1, 1):
        for part_number in range(1, part_count):
            yield Segment(part_number, (part_number - 1) * MIN_PART_BYTES, MIN_PART_BYTES)
        before = (part_count - 1) * MIN_PART_BYTES
        yield Segment(part_count, before, asset_bytes - before)
        return
    offset = 0
    for part_number in range(1, part_count + 1):
        part_length = length + (part_number <= longer)
        yield Segment(part_number, offset, part_length)
        offset += part_length


def part_counts(avatar: Avatar, assets: Sequence[Asset], part_bytes: int) -> dict[AssetKind, int]:
    """Return the number of parts by kind for the videos among *assets*; `auto` aims at parts of *part_bytes*.

    An action video that is too small for an inherited count gets fewer parts. Raises SegmentError when a count from
    the manifest is impossible.
    """
    return {asset.kind: _part_count(avatar, asset, part_bytes) for asset in assets if asset.kind.is_multipart}


def total_segments(avatar: Avatar, assets: Sequence[Asset], part_bytes: int) -> int:
    """Return the number of segments of all *assets*: the parts of the videos, and one for every other file."""
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


def auto_part_count(asset_bytes: int, part_bytes: int = DEFAULT_PART_BYTES) -> int:
    """Return the number of parts of about *part_bytes*, at most 50 unless the 5 GiB limit requires more.

    Raises SegmentError when no allowed count can hold the file.
    """
    even = max(asset_bytes // MIN_PART_BYTES, 1)
    wanted = min(_ceil_div(asset_bytes, part_bytes), MAX_AUTO_PARTS, even)
    return max(wanted, smallest_part_count(asset_bytes), 1)


def explicit_part_count(asset_bytes: int, part_count: int) -> int:
    """Return *part_count* if the file can be cut into that many parts; raises SegmentError if it cannot."""
    largest, smallest = largest_part_count(asset_bytes), smallest_part_count(asset_bytes)
    if part_count > largest:
        raise SegmentError(
            f"{part_count} parts of {asset_bytes} bytes would be under the 100 KiB a part needs; "
            f"use at most {largest}, or auto"
        )
    if part_count < smallest:
        raise SegmentError(
            f"{part_count} parts of {asset_bytes} bytes would be over the 5 GiB a part may have; "
            f"use at least {smallest}, or auto"
        )
    return part_count


def largest_part_count(asset_bytes: int) -> int:
    """Return the most parts the file can have with none but the last under 100 KiB; 1 for a small file."""
    return min(max(_ceil_div(asset_bytes, MIN_PART_BYTES), 1), MAX_PART_COUNT)


def smallest_part_count(asset_bytes: int) -> int:
    """Return the fewest parts the file can have with none over 5 GiB; raises SegmentError if 1000 are not enough."""
    count = _ceil_div(asset_bytes, MAX_PART_BYTES)
    if count > MAX_PART_COUNT:
        raise SegmentError(f"{asset_bytes} bytes do not fit into {MAX_PART_COUNT} parts of 5 GiB")
    return count


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
