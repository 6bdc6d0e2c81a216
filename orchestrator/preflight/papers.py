"""Checks of the small files beside a film, whose end marker a cut copy lacks (P06), and of the contact (P07)."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.preflight.rulebook import Finding, likely_refused, look_first

#: The number of last bytes that are searched for the end marker: programs and cameras append a little data to it.
TAIL_BYTES = 4096
#: In a smaller JPEG the last bytes may have the end marker of its thumbnail, so its segments are read.
_SMALL_BYTES = 128 * 1024
_MOST_SCANNED_BYTES = 64 * 1024**2
_CARD_KINDS = frozenset({AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2})
#: The minimum length of a card's longer side at which its small print is readable.
_CARD_PIXELS = 1000
_ENDS = {"PNG": b"IEND", "PDF": b"%%EOF"}
_END_OF_JPEG = b"\xff\xd9"
_MAX_SEGMENTS = 1000
#: Start-of-frame markers of JPEG; their segments contain the picture's size.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SOUND_SUFFIXES = {".wav", ".mp3"}
_SHOWN_MEMBERS = 3
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
_FEWEST_DIGITS = 7


def paper_findings(asset: Asset, found: str | None, head: bytes, tail: bytes) -> list[Finding]:
    """Return the findings about the picture, letter or voice *asset*, whose format *found* comes from its *head*.

    *tail* are the last bytes. Raises OSError when the file cannot be read.
    """
    kind, path = asset.kind, asset.path
    if not _is_whole(asset, found, tail):
        return [likely_refused("P06", f"{path}: has no end, so it was cut: copy or export it again")]
    if kind in _CARD_KINDS:
        size = _picture_size(path, found, head)
        if size is None or max(size) >= _CARD_PIXELS:
            return []
        side = f"{size[0]}x{size[1]} pixels"
        message = f"has {side}; a card is hard to read under {_CARD_PIXELS} on its longer side"
        return [look_first("P06", f"{path}: {message}")]
    if kind is AssetKind.AUDIO and (strange := _strange_members(path)):
        names = ", ".join(repr(name) for name in strange[:_SHOWN_MEMBERS])
        more = f" and {len(strange) - _SHOWN_MEMBERS} more" if len(strange) > _SHOWN_MEMBERS else ""
        return [likely_refused("P06", f"{path}: holds {names}{more}; a voice has WAV or MP3 files only")]
    return []


def _is_whole(asset: Asset, found: str | None, tail: bytes) -> bool:
    if found != "JPEG":
        return tail.rfind(_ENDS.get(found or "", b"")) >= 0  # search backwards, as the marker is near the end
    path = asset.path
    if asset.size > _SMALL_BYTES and _END_OF_JPEG in tail:
        return True
    scan = next((offset for marker, offset, _ in _segments(path) if marker == 0xDA), None)
    if scan is None:
        return False
    with Path(path).open("rb") as file:
        file.seek(scan)
        content = file.read(_MOST_SCANNED_BYTES)
    # A file that is too long to search is assumed to be whole.
    return _END_OF_JPEG in content or len(content) == _MOST_SCANNED_BYTES


def _picture_size(path: str, found: str | None, head: bytes) -> tuple[int, int] | None:
    if found == "PNG" and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    segments = _segments(path) if found == "JPEG" else ()
    frame = next((raw for marker, _, raw in segments if marker in _FRAMES), b"")
    if len(frame) < 5:
        return None
    return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")


def _segments(path: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, offset and first bytes of the segments of a JPEG up to its first scan."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = 2
        for _ in range(_MAX_SEGMENTS):
            raw = os.pread(descriptor, 16, offset)
            if len(raw) < 4 or raw[0] != 0xFF:
                return
            yield raw[1], offset, raw[4:]
            if raw[1] == 0xDA:
                return
            # Fill bytes may precede a marker.
            offset += 1 if raw[1] == 0xFF else 2 + int.from_bytes(raw[2:4], "big")
    finally:
        os.close(descriptor)


def _strange_members(path: str) -> list[str]:
    """Return the files of a zip whose names are not of sound files; empty for an invalid zip, reported elsewhere."""
    try:
        with zipfile.ZipFile(Path(path)) as archive:
            names = [member.filename for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []
    return [name for name in names if PurePosixPath(name).suffix.lower() not in _SOUND_SUFFIXES]


def contact_complaint(contact: str | None) -> str | None:
    """Return a complaint about *contact*, without repeating it; None for a phone number or e-mail address."""
    if not contact:
        return "is not given; the creator's phone number or e-mail address, for questions of the review"
    is_number = contact.isdigit() and len(contact) >= _FEWEST_DIGITS  # a fast check for nearly all contacts
    if is_number or _ADDRESS.fullmatch(contact) or sum(map(str.isdigit, contact)) >= _FEWEST_DIGITS:
        return None
    return f"has neither {_FEWEST_DIGITS} digits nor an @; is it a phone number or an e-mail address?"
