"""The files of an entry: there, readable, of the right kind, and not too large or too small."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Sequence
from pathlib import PurePath

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.entries import Entry
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.segments import (
    MAX_PART_BYTES,
    SegmentError,
    auto_part_count,
    explicit_part_count,
    largest_part_count,
)
from orchestrator.manifest.contents import format_of, read_head, zip_complaint
from orchestrator.manifest.media import MediaLibraryError, complaints, read_film
from orchestrator.manifest.problems import Problem, Severity

#: Formats that are safe; the vendor documents none for pictures and letters, so others only get a warning.
_PICTURES = ("PNG", "JPEG")
#: By kind, where it is not a picture. That something begins like a zip does not say that it is one.
_USUAL_FORMATS = {
    AssetKind.TRAINING_VIDEO: ("MP4",),
    AssetKind.ACTION_VIDEO: ("MP4",),
    AssetKind.AUDIO: (),
    AssetKind.GRANT_FILE: (*_PICTURES, "PDF"),
}
#: Without these the review fails, unless the account is on the vendor's list.
_REVIEW_NEEDS = (AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2, AssetKind.GRANT_FILE)


def inspect_files(
    entry: Entry, *, with_media: bool, manifest_file: str
) -> tuple[tuple[Asset, ...], list[Problem]]:
    """Look at the files of *entry*: the assets that can be sent, and the problems of all.

    *with_media* also reads length and picture size of the training video, which takes some milliseconds.
    """
    inspection = _Inspection(entry, manifest_file)
    files = entry.avatar.files()
    for kind, path in files.items():
        inspection.inspect(kind, path)
    inspection.check_twins()
    inspection.check_review_needs(files)
    if with_media:
        inspection.check_film()
    return tuple(asset for asset, _ in inspection.found), inspection.problems


class _Inspection:
    """Collects the assets and problems of one entry."""

    def __init__(self, entry: Entry, manifest_file: str) -> None:
        self._entry = entry
        self._manifest_file = manifest_file
        #: Assets with their device, which together with the inode tells a file from every other.
        self.found: list[tuple[Asset, int]] = []
        self.problems: list[Problem] = []

    def _report(self, kind: AssetKind, message: str, severity: Severity = Severity.ERROR) -> None:
        line, column = self._entry.place_of(kind.value)
        problem = Problem(
            file=self._manifest_file,
            line=line,
            column=column,
            entry=self._entry.entry_id,
            field=kind.value,
            message=message,
            severity=severity,
        )
        self.problems.append(problem)

    def inspect(self, kind: AssetKind, path: str) -> None:
        """Check one file by itself."""
        try:
            status = os.stat(path)  # noqa: PTH116 - 300,000 times per large manifest
            complaint = _status_complaint(status)
            head = b"" if complaint else read_head(path)
        except (OSError, ValueError) as error:
            complaint = _access_complaint(path, error)
        if complaint:
            self._report(kind, f"{path}: {complaint}")
            return
        fingerprint = Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino)
        self.found.append((Asset(kind, path, fingerprint), status.st_dev))
        self._check_format(kind, path, format_of(head))
        self._check_size(kind, status.st_size)

    def _check_format(self, kind: AssetKind, path: str, found: str | None) -> None:
        usual = _USUAL_FORMATS.get(kind, _PICTURES)
        if found in usual:
            return
        name = f"{found} file" if found else "file of another format"
        if kind.is_multipart:
            hint = "; `ffmpeg -i IN -c copy OUT.mp4` makes one of it" if found == "MOV" else ""
            self._report(kind, f"{path}: is no MP4 but a {name}{hint}")
        elif kind is not AssetKind.AUDIO:
            wanted = " or ".join(usual)
            self._report(kind, f"{path}: is a {name}, not {wanted}; the review may refuse it", _WARNING)
        elif complaint := _zip_complaint(path):
            self._report(kind, f"{path}: {complaint}")

    def _check_size(self, kind: AssetKind, size: int) -> None:
        if not kind.is_multipart:
            if size > MAX_PART_BYTES:
                self._report(kind, f"has {format_bytes(size)}; the store takes at most 5 GiB")
            return
        try:
            self._check_part_count(kind, size)
        except SegmentError as error:
            self._report(kind, str(error))

    def _check_part_count(self, kind: AssetKind, size: int) -> None:
        avatar = self._entry.avatar
        own = avatar.action_video_multipart_count if kind is AssetKind.ACTION_VIDEO else None
        count = own or avatar.video_multipart_count
        is_inherited = kind is AssetKind.ACTION_VIDEO and own is None
        if count == "auto":
            auto_part_count(size)
        elif is_inherited and count > (largest := largest_part_count(size)):
            message = f"is too small for the {count} parts it inherits from video_multipart_count"
            self._report(kind, f"{message}; {largest} will be used", _WARNING)
        else:
            explicit_part_count(size, count)

    def check_twins(self) -> None:
        """Report a file that is given for two kinds; only the cover is often one of the pictures."""
        first: dict[tuple[int, int], AssetKind] = {}
        for asset, device in self.found:
            other = first.setdefault((device, asset.fingerprint.inode), asset.kind)
            if other is not asset.kind:
                severity = _WARNING if AssetKind.COVER in {other, asset.kind} else Severity.ERROR
                self._report(asset.kind, f"{asset.path}: is the same file as {other}", severity)

    def check_review_needs(self, given: Container[AssetKind]) -> None:
        """Warn of what the review asks of most accounts."""
        absent = [kind for kind in _REVIEW_NEEDS if kind not in given]
        if absent:
            names = ", ".join(absent)
            self._report(
                absent[0], f"{names} not given; without them most accounts fail the review", _WARNING
            )

    def check_film(self) -> None:
        """Check what the service's review would of the training video."""
        assets = [asset for asset, _ in self.found if asset.kind is AssetKind.TRAINING_VIDEO]
        faulty = {problem.field for problem in self.problems if problem.severity is Severity.ERROR}
        if assets and AssetKind.TRAINING_VIDEO not in faulty:
            self._report_film(assets)

    def _report_film(self, assets: Sequence[Asset]) -> None:
        kind, path = assets[0].kind, assets[0].path
        try:
            film = read_film(path)
        except MediaLibraryError:
            hint = "libmediainfo is not installed; --no-media-check leaves this out"
            self._report(kind, f"length and picture size cannot be checked: {hint}", _WARNING)
        except (OSError, RuntimeError) as error:
            self._report(kind, f"{path}: {_access_complaint(path, error)}")
        else:
            for message, severity in complaints(film, is_flexus=self._entry.avatar.is_any_flexus):
                self._report(kind, f"{path}: {message}", severity)


_WARNING = Severity.WARNING


def _status_complaint(status: os.stat_result) -> str | None:
    if stat.S_ISREG(status.st_mode):
        return None if status.st_size else "is empty"
    return "is a directory" if stat.S_ISDIR(status.st_mode) else "is not a regular file"


def _access_complaint(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        folder = PurePath(path).parent
        is_folder_there = os.path.isdir(folder)  # noqa: PTH112 - never raises, whatever the path
        return "no such file" if is_folder_there else f"no such file; the folder {folder} is not there either"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {reason or type(error).__name__}"


def _zip_complaint(path: str) -> str | None:
    try:
        return zip_complaint(path)
    except OSError as error:
        return _access_complaint(path, error)
