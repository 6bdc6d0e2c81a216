"""Inspection of an entry's files: what is at each path, whether its format fits its kind, and duplicate files."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from orchestrator.domain.assets import (
    MAX_AUTO_PARTS,
    MAX_PART_BYTES,
    Asset,
    AssetKind,
    Fingerprint,
    SegmentError,
    auto_part_count,
    explicit_part_count,
    largest_part_count,
)
from orchestrator.domain.avatar import AudioSourceType, Avatar
from orchestrator.domain.entries import Entry
from orchestrator.domain.quantities import format_bytes
from orchestrator.manifest.paths import Folders, is_address
from orchestrator.manifest.problems import Problem, Severity, without_ignored
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.film import Film, FilmRequirements, judge_film, read_film
from orchestrator.preflight.papers import TAIL_BYTES, contact_complaint, paper_findings
from orchestrator.preflight.rulebook import Finding, look_first, refused

HEAD_BYTES = 32
#: With these flags, opening a pipe, device or terminal neither blocks nor has side effects.
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "zip"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM"),
)
_QUICKTIME_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_PICTURE_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
_URL_CAP = "MetaStudio's definitions cap them at 50, so the service may not give them all"
_AUTO = (None, "auto")
#: Up to this size `auto` gives at most MAX_AUTO_PARTS parts.
_FEW_PARTS_BYTES = MAX_AUTO_PARTS * MAX_PART_BYTES
#: Files without which the review fails, unless the account is on the vendor's list.
_REVIEW_NEEDS = (AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2, AssetKind.GRANT_FILE)
#: The maximum number of warnings about one file. A file with more duplicates is hardly a mistake in a copied row.
MAX_COPIES: Final = 10


def inspect_files(
    entry: Entry,
    local: LocalFiles,
    copies: Copies | None = None,
    *,
    with_media: bool,
    manifest_file: str,
    is_repeated: bool = False,
) -> tuple[tuple[Asset, ...], list[Problem]]:
    """Inspect the files of *entry*; return the assets that can be sent, and the problems of all files.

    *copies* contains the files of the earlier entries.
    *with_media* also reads the index of each film, which takes about a millisecond if the film is not cached.
    An inspection that *is_repeated* omits the warnings that need more than the file itself.
    """
    inspection = _Inspection(entry, manifest_file)
    files = entry.avatar.files()
    inspection.take(map(local.look, files.keys(), files.values()))
    inspection.check_twins()
    if not is_repeated:
        if copies is not None:
            inspection.check_copies(copies)
        inspection.check_review_needs(files)
    if with_media:
        inspection.check_films(local)
    problems = without_ignored(inspection.problems, entry.ignored) if entry.ignored else inspection.problems
    return tuple(inspection.assets), problems


def finding_problem(entry: Entry, kind: AssetKind, finding: Finding, manifest_file: str) -> Problem:
    """Return the *finding* of a rule about the file of *kind* as a problem with its place in the manifest."""
    line, column = entry.place_of(kind.value)
    return Problem(
        file=manifest_file,
        line=line,
        column=column,
        entry=entry.entry_id,
        field=kind.value,
        message=finding.message,
        severity=Severity.ERROR if finding.is_error else _WARNING,
        rule=finding.rule,
        judged=finding.verdict,
    )


class _Inspection:
    """Collector of the assets and problems of one entry."""

    def __init__(self, entry: Entry, manifest_file: str) -> None:
        self._entry = entry
        self._manifest_file = manifest_file
        avatar = entry.avatar
        self._is_auto = (
            avatar.video_multipart_count == "auto" and avatar.action_video_multipart_count in _AUTO
        )
        self.assets: list[Asset] = []
        #: The `file_number` of each asset.
        self._files: list[int] = []
        self.problems: list[Problem] = []

    def _report(
        self,
        rule: str,
        field: str,
        message: str,
        severity: Severity = Severity.ERROR,
    ) -> None:
        line, column = self._entry.place_of(field)
        problem = Problem(
            file=self._manifest_file,
            line=line,
            column=column,
            entry=self._entry.entry_id,
            field=field,
            message=message,
            severity=severity,
            rule=rule,
        )
        self.problems.append(problem)

    def _report_finding(self, kind: AssetKind, finding: Finding) -> None:
        self.problems.append(finding_problem(self._entry, kind, finding, self._manifest_file))

    def take(self, looks: Iterable[Look]) -> None:
        """Record the findings about each file."""
        for kind, asset, file, findings in looks:
            for finding in findings:
                self._report_finding(kind, finding)
            if asset is None:
                continue
            self.assets.append(asset)
            self._files.append(file)
            # The part counts that `auto` gives need no check, except for very large films.
            if kind.is_multipart and not (self._is_auto and asset.fingerprint.size <= _FEW_PARTS_BYTES):
                try:
                    self._check_part_count(kind, asset.fingerprint.size)
                except SegmentError as error:
                    self._report("M07", kind, str(error))

    def _check_part_count(self, kind: AssetKind, size: int) -> None:
        """Check the number of parts of a film; raises SegmentError when it does not fit the film's size."""
        avatar = self._entry.avatar
        own = avatar.action_video_multipart_count if kind is AssetKind.ACTION_VIDEO else None
        count = own or avatar.video_multipart_count
        is_inherited = kind is AssetKind.ACTION_VIDEO and own is None
        if count == "auto":
            count = auto_part_count(size)
        elif is_inherited and count > (largest := largest_part_count(size)):
            message = f"is too small for the {count} parts it inherits from video_multipart_count"
            self._report("M07", kind, f"{message}; {largest} will be used", _WARNING)
            count = largest
        else:
            explicit_part_count(size, count)
        if count > MAX_AUTO_PARTS:
            self._report("M07", kind, f"needs {count} upload URLs; {_URL_CAP}", _WARNING)

    def check_twins(self) -> None:
        """Report a file that is given for two kinds: a warning if one is the cover, which often reuses a picture."""
        if len(set(self._files)) == len(self._files):
            return
        first: dict[int, AssetKind] = {}
        for asset, file in zip(self.assets, self._files, strict=True):
            other = first.setdefault(file, asset.kind)
            if file and other is not asset.kind:
                severity = _WARNING if AssetKind.COVER in {other, asset.kind} else Severity.ERROR
                self._report("M08", asset.kind, f"{asset.path}: is the same file as {other}", severity)

    def check_copies(self, copies: Copies) -> None:
        """Warn about each file that an earlier avatar also names."""
        for asset, line in copies.named_before(self._entry.line, zip(self.assets, self._files, strict=True)):
            message = f"{asset.path}: the avatar in line {line} names the same file; was a row copied?"
            self._report("M08", asset.kind, message, _WARNING)

    def check_review_needs(self, given: Container[AssetKind]) -> None:
        """Warn about missing files that the review requires of most accounts, and about a doubtful contact."""
        absent = [kind for kind in _REVIEW_NEEDS if kind not in given]
        if absent:
            names = ", ".join(absent)
            message = f"{names} not given; without them most accounts fail the review"
            self._report("M09", absent[0], message, _WARNING)
        contact = self._entry.avatar.contact
        if complaint := contact_complaint(contact):
            self._report("P07", "contact", complaint, _WARNING)

    def check_films(self, local: LocalFiles) -> None:
        """Check the training video and the action video for what the service's review would check."""
        faulty = {problem.field for problem in self.problems if problem.is_error}
        for asset in self.assets:
            if not asset.kind.is_multipart or asset.kind in faulty:
                continue
            try:
                film = local.film(asset.path)
            except OSError as error:
                self._report("M05", asset.kind, f"{asset.path}: {access_complaint(asset.path, error)}")
                continue
            for finding in judge_film(film, film_requirements(self._entry.avatar, asset.kind)):
                message = f"{asset.path}: {finding.message}"
                self._report_finding(asset.kind, replace(finding, message=message))


def film_requirements(avatar: Avatar, kind: AssetKind) -> FilmRequirements:
    """Return the requirements for the film of *kind*."""
    is_voice_elsewhere = avatar.audio_source_type is AudioSourceType.AUDIO or avatar.is_only_human_model
    return FilmRequirements(
        is_flexus=avatar.is_any_flexus,
        is_sound_needed=kind is AssetKind.TRAINING_VIDEO and not is_voice_elsewhere,
    )


_WARNING = Severity.WARNING


class Copies:
    """The files named by earlier avatars (rule M08), identified by device and inode so that links count too.

    *shared* are paths that the manifest intends for many avatars. A file is stored as one number instead of its
    path: 50,000 avatars with five such files each take about 30 MB, whatever the length of their paths.
    """

    def __init__(self, shared: Container[str] = ()) -> None:
        self._shared = shared
        #: The line of the first avatar that names a file, by `file_number`.
        self._lines: dict[int, int] = {}
        self._copies: Counter[int] = Counter()

    def named_before(self, line: int, files: Iterable[tuple[Asset, int]]) -> list[tuple[Asset, int]]:
        """Add the *files*, each with its `file_number`, of the avatar in *line*.

        Returns the assets whose file an earlier avatar names, with the line of the first such avatar. A file that
        has been returned MAX_COPIES times is not returned again.
        """
        found, new, lines = [], [], self._lines
        for asset, file in files:
            if not (asset.kind.is_personal and file) or asset.path in self._shared:
                continue
            first = lines.get(file)
            if first is None:
                new.append(file)
                continue
            if (reported := self._copies[file]) < MAX_COPIES:
                self._copies[file] = reported + 1
                found.append((asset, first))
        # Only after the loop: an avatar that names a file twice is not a copied row.
        for file in new:
            lines[file] = line
        return found


def shared_paths(defaults: Mapping[str, object]) -> frozenset[str]:
    """Return the paths of the files in the *defaults* of a manifest."""
    return frozenset(str(defaults[kind]) for kind in AssetKind if defaults.get(kind))


def read_ends(path: str, tail_bytes: int) -> tuple[os.stat_result, bytes, bytes]:
    """Return the status of *path* and, if it is a regular file, its first and last bytes.

    Raises OSError when it cannot be read. The path is resolved only once, and opening a pipe does not block.
    """
    descriptor = os.open(path, _READ_ONLY)
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return status, b"", b""
        if size <= tail_bytes:
            content = os.read(descriptor, size)
            return status, content[:HEAD_BYTES], content
        head = os.read(descriptor, HEAD_BYTES)
        return status, head, os.pread(descriptor, tail_bytes, size - tail_bytes) if tail_bytes else b""
    finally:
        os.close(descriptor)


def format_of(head: bytes) -> str | None:
    """Return the format of a file that begins with *head*: MP4, MOV, PNG, ...; None for unknown formats."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "MOV" if brand == b"qt  " else _PICTURE_BRANDS.get(brand, "MP4")
    if head[4:8] in _QUICKTIME_BOXES:
        return "MOV"
    if head[:4] == b"RIFF":
        return {b"AVI ": "AVI", b"WEBP": "WebP", b"WAVE": "WAV"}.get(head[8:12])
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    return None


def zip_complaint(path: str) -> str | None:
    """Return what is wrong with the zip at *path*; None when its index is readable and lists a file."""
    try:
        with zipfile.ZipFile(Path(path)) as archive:
            # Not ZipInfo.is_dir(), which raises on an empty name; a damaged index may contain one.
            is_empty = all(name.endswith("/") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "is not a zip, or is not complete"
    return "is a zip without any file in it" if is_empty else None


#: The number of cached files: adjacent entries share a letter or a cover, whole batches seldom do.
_REMEMBERED = 512
_INODE_BITS = 64
#: Formats that are safe. The vendor documents none for pictures and letters, so others only cause a warning.
_PICTURES = ("PNG", "JPEG")
#: The usual formats of kinds that are not pictures. AUDIO has none: a zip signature does not make a valid zip.
_USUAL_FORMATS = {
    AssetKind.TRAINING_VIDEO: ("MP4",),
    AssetKind.ACTION_VIDEO: ("MP4",),
    AssetKind.AUDIO: (),
    AssetKind.GRANT_FILE: (*_PICTURES, "PDF"),
}


class Look(NamedTuple):
    """The findings at a path; *asset* is None when it cannot be sent, *file* is its `file_number`."""

    kind: AssetKind
    asset: Asset | None
    file: int
    findings: tuple[Finding, ...]


class LocalFiles:
    """A short-lived cache of local files: one that several entries share is inspected once.

    Changes after the first inspection are not noticed, so planning creates a new instance for every few entries.
    Films in *cache*, by default the user's, are not measured again.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        #: Opened with the first film, because most instances read none.
        known = lru_cache(1)(lambda: cache or Cache())
        #: Inspects the file of a kind at a path.
        self.look: Callable[[AssetKind, str], Look] = lru_cache(_REMEMBERED)(partial(_look, Folders()))
        #: Returns the fingerprint of the file at a path, None when it is missing or inaccessible.
        self.fingerprint: Callable[[str], Fingerprint | None] = lru_cache(_REMEMBERED)(fingerprint_of)
        #: Returns the facts of the film at a path; raises OSError.
        self.film: Callable[[str], Film] = lru_cache(_REMEMBERED)(lambda path: read_film(path, known()))


def file_number(device: int, inode: int) -> int:
    """Return a number that is equal for all paths of a file; 0 if unknown, as on file systems with only inode 0."""
    return device << _INODE_BITS | inode if inode else 0


def access_complaint(path: str, error: Exception) -> str:
    """Return the reason why *path* cannot be read."""
    if isinstance(error, FileNotFoundError):
        folder = PurePath(path).parent
        is_folder_there = os.path.isdir(folder)  # noqa: PTH112 - never raises, whatever the path
        return "no such file" if is_folder_there else f"no such file (folder {folder} does not exist)"
    if isinstance(error, UnicodeEncodeError):
        lacking = f"the locale's encoding ({error.encoding}) lacks a character of its name"
        return f"cannot be read: {lacking}; set LC_ALL=C.UTF-8"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "is not a regular file"  # it is a socket, which cannot be opened
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {reason or 'the system gives no reason'}"


def fingerprint_of(path: str) -> Fingerprint | None:
    """Return the fingerprint of the file at *path*; None when it is missing or inaccessible."""
    try:
        status = os.stat(path)  # noqa: PTH116 - for hundreds of thousands of paths, Path costs more than stat
    except OSError:
        return None
    return Fingerprint.of(status)


def _look(folders: Folders, kind: AssetKind, path: str) -> Look:
    try:
        status, head, tail = read_ends(path, 0 if kind.is_multipart else TAIL_BYTES)
        complaint = None if status.st_size else "is empty"
        if not stat.S_ISREG(status.st_mode):
            complaint = "is a directory" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
    except (OSError, ValueError) as error:
        # Search for the file that may have been meant only when the path does not exist.
        is_there = isinstance(error, (PermissionError, ValueError))
        complaint = (None if is_there else folders.explain(path)) or access_complaint(path, error)
    if complaint:
        # An address may be signed, so it is not repeated.
        message = complaint if is_address(path) else f"{path}: {complaint}"
        return Look(kind, None, 0, (refused("M05", message),))
    asset = Asset(kind, path, Fingerprint.of(status))
    return Look(kind, asset, file_number(status.st_dev, status.st_ino), _findings(asset, head, tail))


def _findings(asset: Asset, head: bytes, tail: bytes) -> tuple[Finding, ...]:
    kind, found = asset.kind, format_of(head)
    is_usual = found in _USUAL_FORMATS.get(kind, _PICTURES)
    findings = [] if is_usual else list(_format_findings(asset, found))
    if kind.is_multipart:
        return tuple(findings)
    try:  # noqa: SIM105 - for hundreds of thousands of files, `suppress` costs as much as the rest
        findings += paper_findings(asset, found, head, tail)
    except OSError:
        pass  # it was readable a moment ago, and the upload will report what is wrong
    if asset.size > MAX_PART_BYTES:
        findings.append(refused("M06", f"has {format_bytes(asset.size)}; the store takes at most 5 GiB"))
    return tuple(findings)


def _format_findings(asset: Asset, found: str | None) -> Iterator[Finding]:
    kind, path = asset.kind, asset.path
    name = f"{found} file" if found else "file of another format"
    if kind.is_multipart:
        hint = "; `ffmpeg -i IN -c copy OUT.mp4` makes one of it" if found == "MOV" else ""
        yield refused("P09", f"{path}: is no MP4 but a {name}{hint}")
    elif kind is not AssetKind.AUDIO:
        wanted = " or ".join(_USUAL_FORMATS.get(kind, _PICTURES))
        yield look_first("M06", f"{path}: is a {name}, not {wanted}; the review may refuse it")
    else:
        try:
            complaint = zip_complaint(path)
        except OSError as error:
            complaint = access_complaint(path, error)
        if complaint:
            yield refused("M06", f"{path}: {complaint}")
