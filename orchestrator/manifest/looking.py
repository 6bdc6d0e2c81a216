"""A look at local files, each by itself: there, readable, and of the kind that is wanted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import PurePath
from typing import NamedTuple

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.segments import MAX_PART_BYTES
from orchestrator.manifest.contents import format_of, read_head, zip_complaint
from orchestrator.manifest.problems import Severity

#: Files that are remembered: neighbours share a letter or a cover, whole batches seldom do.
_REMEMBERED = 512
#: Formats that are safe; the vendor documents none for pictures and letters, so others only get a warning.
_PICTURES = ("PNG", "JPEG")
#: By kind, where it is not a picture. That something begins like a zip does not say that it is one.
_USUAL_FORMATS = {
    AssetKind.TRAINING_VIDEO: ("MP4",),
    AssetKind.ACTION_VIDEO: ("MP4",),
    AssetKind.AUDIO: (),
    AssetKind.GRANT_FILE: (*_PICTURES, "PDF"),
}

#: What is wrong with a file, and how much.
Complaint = tuple[str, Severity]


class Look(NamedTuple):
    """What is to be found at a path; *asset* is None when it cannot be sent.

    The *device* together with the inode tells a file from every other.
    """

    asset: Asset | None
    device: int
    complaints: tuple[Complaint, ...]


class LocalFiles:
    """The files of a moment: one that several entries share is looked at once.

    What changes after the first look is not seen, so who plans with it makes a new one for every few entries.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        #: What is wrong with the file of that kind at that path.
        self.look: Callable[[AssetKind, str], Look] = lru_cache(_REMEMBERED)(_look)
        #: The fingerprint of what is at that path, None when nothing can be seen there.
        self.fingerprint: Callable[[str], Fingerprint | None] = lru_cache(_REMEMBERED)(_fingerprint)


def access_complaint(path: str, error: Exception) -> str:
    """Say why nothing is to be had from *path*."""
    if isinstance(error, FileNotFoundError):
        folder = PurePath(path).parent
        is_folder_there = os.path.isdir(folder)  # noqa: PTH112 - never raises, whatever the path
        return "no such file" if is_folder_there else f"no such file; the folder {folder} is not there either"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {reason or type(error).__name__}"


def _fingerprint(path: str) -> Fingerprint | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - hundreds of thousands of paths, and Path costs more than stat
    except OSError:
        return None
    return Fingerprint.of(status)


def _look(kind: AssetKind, path: str) -> Look:
    try:
        status = os.stat(path)  # noqa: PTH116 - 300,000 times per large manifest
        complaint = _status_complaint(status)
        head = b"" if complaint else read_head(path)
    except (OSError, ValueError) as error:
        complaint = access_complaint(path, error)
    if complaint:
        return Look(None, 0, ((f"{path}: {complaint}", Severity.ERROR),))
    asset = Asset(kind, path, Fingerprint.of(status))
    return Look(asset, status.st_dev, tuple(_complaints(asset, format_of(head))))


def _status_complaint(status: os.stat_result) -> str | None:
    if stat.S_ISREG(status.st_mode):
        return None if status.st_size else "is empty"
    return "is a directory" if stat.S_ISDIR(status.st_mode) else "is not a regular file"


def _complaints(asset: Asset, found: str | None) -> Iterator[Complaint]:
    if found not in _USUAL_FORMATS.get(asset.kind, _PICTURES):
        yield from _format_complaints(asset, found)
    if asset.size > MAX_PART_BYTES and not asset.kind.is_multipart:
        yield f"has {format_bytes(asset.size)}; the store takes at most 5 GiB", Severity.ERROR


def _format_complaints(asset: Asset, found: str | None) -> Iterator[Complaint]:
    kind, path = asset.kind, asset.path
    name = f"{found} file" if found else "file of another format"
    if kind.is_multipart:
        hint = "; `ffmpeg -i IN -c copy OUT.mp4` makes one of it" if found == "MOV" else ""
        yield f"{path}: is no MP4 but a {name}{hint}", Severity.ERROR
    elif kind is not AssetKind.AUDIO:
        wanted = " or ".join(_USUAL_FORMATS.get(kind, _PICTURES))
        yield f"{path}: is a {name}, not {wanted}; the review may refuse it", Severity.WARNING
    elif complaint := _zip_complaint(path):
        yield f"{path}: {complaint}", Severity.ERROR


def _zip_complaint(path: str) -> str | None:
    try:
        return zip_complaint(path)
    except OSError as error:
        return access_complaint(path, error)
