"""Sample files: a short valid film padded to any size, pictures, letters and voice recordings."""

from __future__ import annotations

import io
import random
import struct
import wave
import zipfile
import zlib
from importlib import resources
from pathlib import Path

#: Every block of a film is different, so that no two segments are equal.
BLOCK_BYTES = 1024**2
#: Films over this size are mostly sparse: quick to create, and small on disk.
SPARSE_BYTES = 256 * 1024**2
_SPARSE_MARK_BYTES = 4096
_BOX_HEADER_BYTES = 8
#: Wide enough for a card to be accepted, and low, so that it is created quickly.
_PICTURE_WIDTH, _PICTURE_HEIGHT = 1024, 64


def sample_footage() -> bytes:
    """Return the film included in the package: MP4, H.264, 1920x1080, 3 minutes 10 seconds."""
    return resources.files(__package__).joinpath("sample/footage.mp4").read_bytes()


def write_footage(path: Path, *, size: int, seed: int) -> None:
    """Write the sample film padded to exactly *size* bytes; films with different *seed* differ.

    The padding is a `free` box, which players skip. Raises ValueError if *size* leaves no room for one.
    """
    film = sample_footage()
    padding_bytes = size - len(film)
    if padding_bytes and padding_bytes < _BOX_HEADER_BYTES:
        raise ValueError(f"a film has {len(film)} bytes, or at least {len(film) + _BOX_HEADER_BYTES}")
    with path.open("wb") as file:
        file.write(film)
        if padding_bytes:
            # ISO/IEC 14496-12 section 4.2: the long form of the header, if 32 bits are not enough for the size.
            is_short = padding_bytes < 2**32
            file.write(struct.pack(">I4s", padding_bytes if is_short else 1, b"free"))
            file.write(b"" if is_short else struct.pack(">Q", padding_bytes))
            _write_blocks(file, size, seed)


def _write_blocks(file: io.BufferedWriter, size: int, seed: int) -> None:
    """Fill *file* from its position up to *size* with numbered blocks."""
    noise = random.Random(seed).randbytes(_SPARSE_MARK_BYTES if size > SPARSE_BYTES else BLOCK_BYTES)
    for number, offset in enumerate(range(file.tell(), size, BLOCK_BYTES)):
        file.seek(offset)
        file.write((struct.pack(">Q", number) + noise[8:])[: size - offset])
    file.truncate(size)


def write_picture(path: Path, seed: int) -> None:
    """Write a small PNG whose rows each have one random color."""
    draw = random.Random(seed)
    rows = b"".join(b"\0" + draw.randbytes(3) * _PICTURE_WIDTH for _ in range(_PICTURE_HEIGHT))
    header = struct.pack(">IIBBBBB", _PICTURE_WIDTH, _PICTURE_HEIGHT, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        png += struct.pack(">I", len(content)) + name + content + checksum
    path.write_bytes(png)


def write_letter(path: Path, seed: int) -> None:
    """Write a one-page PDF that contains the number of the letter."""
    text = f"BT /F1 24 Tf 72 720 Td (Letter of authorization {seed}) Tj ET".encode()
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(text), text),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    path.write_bytes(_pdf(objects))


def _pdf(objects: tuple[bytes, ...]) -> bytes:
    """Join *objects*, the catalog first, and append the table of their offsets."""
    document, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(document))
        document += b"%d 0 obj%s endobj\n" % (number, content)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, rows)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(document))
    return document + table + trailer


def write_audio_zip(path: Path, seed: int) -> None:
    """Write a zip with one second of noise as a WAV file."""
    recording = io.BytesIO()
    with wave.open(recording, "wb") as sound:
        sound.setparams((1, 1, 8000, 0, "NONE", "not compressed"))
        sound.writeframes(random.Random(seed).randbytes(8000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("voice.wav"), recording.getvalue())
