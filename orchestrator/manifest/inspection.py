"""What is at the paths of a manifest: files that can be sent, and whether their content is of the kind wanted."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import NamedTuple

from orchestrator.domain.assets import MAX_PART_BYTES, Asset, AssetKind, Fingerprint
from orchestrator.domain.quantities import format_bytes
from orchestrator.manifest.paths import Folders, is_address
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.film import Film, read_film
from orchestrator.preflight.papers import TAIL_BYTES, paper_findings
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
