"""The files of an entry: what is at each path, whether it is of the kind wanted, and whether they go together."""

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
from orchestrator.preflight.films.film import Film, Wanted, judge_film, read_film
from orchestrator.preflight.papers import TAIL_BYTES, contact_complaint, paper_findings
from orchestrator.preflight.rulebook import Finding, look_first, refused

HEAD_BYTES = 32
#: What is no file does nothing when it is opened so.
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
#: Up to here `auto` gives no more parts than MAX_AUTO_PARTS.
_FEW_PARTS_BYTES = MAX_AUTO_PARTS * MAX_PART_BYTES
#: Without these the review fails, unless the account is on the vendor's list.
_REVIEW_NEEDS = (AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2, AssetKind.GRANT_FILE)
#: Warnings about one file; a file that more avatars name was hardly forgotten in a copied row.
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
    """Look at the files of *entry*: the assets that can be sent, and the problems of all.

    *copies* knows the files of the entries before.
    *with_media* also reads the index of each film, which takes about a millisecond where the cache does not know it.
    An inspection that *is_repeated* leaves out warnings that take more than the file itself.
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
    """What a rule found about the file of *kind*, at its place in the manifest."""
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
    """Collects the assets and problems of one entry."""

    def __init__(self, entry: Entry, manifest_file: str) -> None:
        self._entry = entry
        self._manifest_file = manifest_file
        avatar = entry.avatar
        self._is_auto = (
            avatar.video_multipart_count == "auto" and avatar.action_video_multipart_count in _AUTO
        )
        self.assets: list[Asset] = []
        #: The number of the file of each.
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
            # `auto` gives no number of parts that something is to be said of, up to very large films.
            if kind.is_multipart and not (self._is_auto and asset.fingerprint.size <= _FEW_PARTS_BYTES):
                try:
                    self._check_part_count(kind, asset.fingerprint.size)
                except SegmentError as error:
                    self._report("M07", kind, str(error))

    def _check_part_count(self, kind: AssetKind, size: int) -> None:
        """Raise SegmentError where a film cannot be cut into the parts that its own field asks for."""
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
        """Report a file that is given for two kinds; only the cover is often one of the pictures."""
        if len(set(self._files)) == len(self._files):
            return
        first: dict[int, AssetKind] = {}
        for asset, file in zip(self.assets, self._files, strict=True):
            other = first.setdefault(file, asset.kind)
            if file and other is not asset.kind:
                severity = _WARNING if AssetKind.COVER in {other, asset.kind} else Severity.ERROR
                self._report("M08", asset.kind, f"{asset.path}: is the same file as {other}", severity)

    def check_copies(self, copies: Copies) -> None:
        """Warn of a file that an earlier avatar names too."""
        for asset, line in copies.named_before(self._entry.line, zip(self.assets, self._files, strict=True)):
            message = f"{asset.path}: the avatar in line {line} names the same file; was a row copied?"
            self._report("M08", asset.kind, message, _WARNING)

    def check_review_needs(self, given: Container[AssetKind]) -> None:
        """Warn of what the review asks of most accounts."""
        absent = [kind for kind in _REVIEW_NEEDS if kind not in given]
        if absent:
            names = ", ".join(absent)
            message = f"{names} not given; without them most accounts fail the review"
            self._report("M09", absent[0], message, _WARNING)
        contact = self._entry.avatar.contact
        if complaint := contact_complaint(contact):
            self._report("P07", "contact", complaint, _WARNING)

    def check_films(self, local: LocalFiles) -> None:
        """Check what the service's review would of the training video and the action video."""
        faulty = {problem.field for problem in self.problems if problem.is_error}
        for asset in self.assets:
            if not asset.kind.is_multipart or asset.kind in faulty:
                continue
            try:
                film = local.film(asset.path)
            except OSError as error:
                self._report("M05", asset.kind, f"{asset.path}: {access_complaint(asset.path, error)}")
                continue
            for finding in judge_film(film, wanted_of(self._entry.avatar, asset.kind)):
                message = f"{asset.path}: {finding.message}"
                self._report_finding(asset.kind, replace(finding, message=message))


def wanted_of(avatar: Avatar, kind: AssetKind) -> Wanted:
    """What the film of *kind* is for."""
    is_voice_elsewhere = avatar.audio_source_type is AudioSourceType.AUDIO or avatar.is_only_human_model
    return Wanted(
        is_flexus=avatar.is_any_flexus,
        is_sound_needed=kind is AssetKind.TRAINING_VIDEO and not is_voice_elsewhere,
    )


_WARNING = Severity.WARNING


class Copies:
    """The files that the avatars so far have named (rule M08), known by device and inode, so that links count too.

    *shared* are paths that the manifest means for many avatars. A file is one number, not its path: 50,000 avatars
    with five such files each take about 30 MB, however long their paths are.
    """

    def __init__(self, shared: Container[str] = ()) -> None:
        self._shared = shared
        #: The line of the first avatar that names a file.
        self._lines: dict[int, int] = {}
        self._copies: Counter[int] = Counter()

    def named_before(self, line: int, files: Iterable[tuple[Asset, int]]) -> list[tuple[Asset, int]]:
        """Take the *files*, each with its `file_number`, of the avatar in *line*.

        Returns those that an avatar before names too, with the first one's line; none of a file that too many name.
        """
        found, new, lines = [], [], self._lines
        for asset, file in files:
            if not (asset.kind.is_personal and file) or asset.path in self._shared:
                continue
            first = lines.get(file)
            if first is None:
                new.append(file)
                continue
            if (told := self._copies[file]) < MAX_COPIES:
                self._copies[file] = told + 1
                found.append((asset, first))
        # Only now: a file that one avatar names twice is no copied row.
        for file in new:
            lines[file] = line
        return found


def shared_paths(defaults: Mapping[str, object]) -> frozenset[str]:
    """The files among the *defaults* of a manifest."""
    return frozenset(str(defaults[kind]) for kind in AssetKind if defaults.get(kind))


def read_ends(path: str, tail_bytes: int) -> tuple[os.stat_result, bytes, bytes]:
    """The status of *path*, and the first and the last bytes where it is a regular file.

    Raises OSError when it may not be read. The path is walked once for all of that, and no pipe is waited for.
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
    """The format that begins with *head*: MP4, MOV, PNG, ...; None when it is not one of those known here."""
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
    """What is wrong with the zip at *path*; None when its index can be read and names a file."""
    try:
        with zipfile.ZipFile(Path(path)) as archive:
            # Not ZipInfo.is_dir(): a damaged index may hold an empty name, on which that raises.
            is_empty = all(name.endswith("/") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "is not a zip, or is not complete"
    return "is a zip without any file in it" if is_empty else None


#: Files that are remembered: neighbours share a letter or a cover, whole batches seldom do.
_REMEMBERED = 512
_INODE_BITS = 64
#: Formats that are safe; the vendor documents none for pictures and letters, so others only get a warning.
_PICTURES = ("PNG", "JPEG")
#: By kind, where it is not a picture. That something begins like a zip does not say that it is one.
_USUAL_FORMATS = {
    AssetKind.TRAINING_VIDEO: ("MP4",),
    AssetKind.ACTION_VIDEO: ("MP4",),
    AssetKind.AUDIO: (),
    AssetKind.GRANT_FILE: (*_PICTURES, "PDF"),
}


class Look(NamedTuple):
    """What was found at a path; *asset* is None when it cannot be sent, *file* is its `file_number`."""

    kind: AssetKind
    asset: Asset | None
    file: int
    findings: tuple[Finding, ...]


class LocalFiles:
    """The files of a moment: one that several entries share is looked at once.

    What changes after the first look is not seen, so planning makes a new one for every few entries. What *cache*
    knows of films is not measured again; by default it is the user's.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        #: Found with the first film: most moments see none.
        known = lru_cache(1)(lambda: cache or Cache())
        #: What is wrong with the file of that kind at that path.
        self.look: Callable[[AssetKind, str], Look] = lru_cache(_REMEMBERED)(partial(_look, Folders()))
        #: The fingerprint of what is at that path, None when nothing can be seen there.
        self.fingerprint: Callable[[str], Fingerprint | None] = lru_cache(_REMEMBERED)(fingerprint_of)
        #: The facts of the film at that path; raises OSError.
        self.film: Callable[[str], Film] = lru_cache(_REMEMBERED)(lambda path: read_film(path, known()))


def file_number(device: int, inode: int) -> int:
    """What is the same for all paths of a file; 0 where that is not known: to some file systems every inode is 0."""
    return device << _INODE_BITS | inode if inode else 0


def access_complaint(path: str, error: Exception) -> str:
    """Why nothing can be read from *path*."""
    if isinstance(error, FileNotFoundError):
        folder = PurePath(path).parent
        is_folder_there = os.path.isdir(folder)  # noqa: PTH112 - never raises, whatever the path
        return "no such file" if is_folder_there else f"no such file (folder {folder} does not exist)"
    if isinstance(error, UnicodeEncodeError):
        lacking = f"the locale's encoding ({error.encoding}) lacks a character of its name"
        return f"cannot be read: {lacking}; set LC_ALL=C.UTF-8"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "is not a regular file"  # but a socket, which cannot be opened
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {reason or 'the system gives no reason'}"


def fingerprint_of(path: str) -> Fingerprint | None:
    """What is at *path*; None when nothing can be seen there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - hundreds of thousands of paths, and Path costs more than stat
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
        # Which file may have been meant is looked for only where nothing is.
        is_there = isinstance(error, (PermissionError, ValueError))
        complaint = (None if is_there else folders.explain(path)) or access_complaint(path, error)
    if complaint:
        # An address may be signed: it is not repeated.
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
    try:  # noqa: SIM105 - `suppress` costs as much as the rest for each of hundreds of thousands of files
        findings += paper_findings(asset, found, head, tail)
    except OSError:
        pass  # it could be read a moment ago, and the upload will say what is wrong
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
