"""What a file is by its content, whatever its name says."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

HEAD_BYTES = 32
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


def read_ends(path: str, size: int, tail_bytes: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of *path*, which has *size*; raises OSError when it may not be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.read(descriptor, HEAD_BYTES)
        return head, os.pread(descriptor, tail_bytes, max(0, size - tail_bytes)) if tail_bytes else b""
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
