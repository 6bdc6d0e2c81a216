"""Picture formats, read from a codec's description in the index: bit depth, colors, fields, pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.preflight.films.mp4 import DamagedError, first_in, number

#: Codecs by the four letters of their description; others are shown by their letters.
_NAMES = {
    **dict.fromkeys(("avc1", "avc2", "avc3", "avc4"), "H.264 (AVC)"),
    **dict.fromkeys(("hvc1", "hev1", "dvh1", "dvhe"), "H.265 (HEVC)"),
    "av01": "AV1",
    "vp09": "VP9",
    "mp4v": "MPEG-4 part 2",
    **dict.fromkeys(("apch", "apcn", "apcs", "apco", "ap4h"), "ProRes"),
    **dict.fromkeys(("mjpa", "mjpb", "jpeg"), "Motion JPEG"),
}
_CHROMA = {0: "4:0:0", 1: "4:2:0", 2: "4:2:2", 3: "4:4:4"}
#: Profiles of H.264 whose description includes the color format (ITU-T H.264 section 7.3.2.1.1).
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
#: Transfer characteristics of HDR: PQ and HLG (ITU-T H.273 table 3).
_HDR_TRANSFERS = {16, 18}
#: Pixel shapes by number (ITU-T H.264 table E-1).
_SHAPES = {
    1: (1, 1), 2: (12, 11), 3: (10, 11), 4: (16, 11), 5: (40, 33), 6: (24, 11), 7: (20, 11), 8: (32, 11),
    9: (80, 33), 10: (18, 11), 11: (15, 11), 12: (64, 33), 13: (160, 99), 14: (4, 3), 15: (3, 2), 16: (2, 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pictures:
    """The format of stored pictures; None for values that the description does not contain.

    `length_bytes` is the width of the length field before each unit of a picture, 0 if there is none.
    """

    bit_depth: int | None = None
    chroma: str | None = None
    is_interlaced: bool | None = None
    pixel: tuple[int, int] | None = None
    is_hdr: bool = False
    length_bytes: int = 0


def codec_name(letters: str) -> str:
    """Return the common name of the codec."""
    return _NAMES.get(letters, letters.strip())


def pictures_of(entry: memoryview) -> Pictures:
    """Read the boxes of a picture track's description; damaged boxes give a `Pictures` without values."""
    try:
        pictures = _described(entry)
        if (pasp := first_in(entry, "pasp")) is not None:
            pictures = replace(pictures, pixel=(number(pasp, 0), number(pasp, 4)))
        colour = first_in(entry, "colr")
        if colour is not None and bytes(colour[:4]) in {b"nclx", b"nclc"}:
            # Check both places for HDR, because encoders often fill in only one of them.
            is_hdr = pictures.is_hdr or number(colour, 6, 2) in _HDR_TRANSFERS
            pictures = replace(pictures, is_hdr=is_hdr)
    except (DamagedError, IndexError):
        return Pictures()
    return pictures


def _described(entry: memoryview) -> Pictures:
    """Return the values of the codec's own box."""
    if (avc := first_in(entry, "avcC")) is not None:
        length_bytes = (number(avc, 4, 1) & 3) + 1
        if not number(avc, 5, 1) & 31:
            return Pictures(length_bytes=length_bytes)
        sps = bytes(avc[8 : 8 + number(avc, 6, 2)])
        return replace(pictures_of_h264(sps), length_bytes=length_bytes)
    if (hevc := first_in(entry, "hvcC")) is not None:
        flags = number(hevc, 6, 1)  # the first two: progressive, interlaced (ITU-T H.265 section 7.3.3)
        return Pictures(
            bit_depth=(number(hevc, 17, 1) & 7) + 8,
            chroma=_CHROMA.get(number(hevc, 16, 1) & 3),
            is_interlaced=bool(flags & 0x40) and not flags & 0x80,
            length_bytes=(number(hevc, 21, 1) & 3) + 1,
        )
    return Pictures()


class _Bits:
    """Reader of the bits of a parameter set, without its emulation prevention bytes."""

    def __init__(self, content: bytes) -> None:
        plain = content.replace(b"\0\0\3", b"\0\0")
        self._bits = int.from_bytes(plain, "big")
        self._left = 8 * len(plain)

    def take(self, count: int = 1) -> int:
        """Return the next *count* bits as a number; raises DamagedError at the end."""
        self._left -= count
        if self._left < 0:
            raise DamagedError("a parameter set is cut")
        return (self._bits >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return the next Exp-Golomb number (ITU-T H.264 section 9.1)."""
        zeros = 0
        while not self.take():
            zeros += 1
            if zeros > 32:
                raise DamagedError("a parameter set is damaged")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        """Return the next signed Exp-Golomb number."""
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def pictures_of_h264(sps: bytes) -> Pictures:
    """Read a sequence parameter set of H.264 (section 7.3.2.1.1), including its header byte.

    Raises DamagedError, or IndexError when it is too short to have a profile.
    """
    profile, bits = sps[1], _Bits(sps[4:])
    bits.golomb()
    chroma, depth = _colours(bits) if profile in _HIGH_PROFILES else (1, 8)
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take()
        bits.signed_golomb()
        bits.signed_golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.signed_golomb()
    bits.golomb()
    bits.take()
    for _ in range(2):  # width, height
        bits.golomb()
    is_interlaced = not bits.take()
    if is_interlaced:
        bits.take()
    bits.take()
    if bits.take():  # cropping
        for _ in range(4):
            bits.golomb()
    pixel, is_hdr = _usability(bits) if bits.take() else (None, False)
    return Pictures(depth, _CHROMA.get(chroma), is_interlaced, pixel, is_hdr)


def _colours(bits: _Bits) -> tuple[int, int]:
    """Return the chroma format and the bit depth, and skip the scaling lists, which affect neither."""
    chroma = bits.golomb()
    if chroma == 3:
        bits.take()
    depth = 8 + bits.golomb()
    bits.golomb()
    bits.take()
    if not bits.take():
        return chroma, depth
    for place in range(12 if chroma == 3 else 8):
        last = following = 8
        for _ in range((16 if place < 6 else 64) if bits.take() else 0):
            if following:
                following = (last + bits.signed_golomb() + 256) % 256
            last = following or last
    return chroma, depth


def _usability(bits: _Bits) -> tuple[tuple[int, int] | None, bool]:
    """Return the pixels' shape, and True for HDR, from the VUI (ITU-T H.264 section E.1.1)."""
    pixel, is_hdr = None, False
    if bits.take():
        shape = bits.take(8)
        pixel = (bits.take(16), bits.take(16)) if shape == 255 else _SHAPES.get(shape)
    if bits.take():
        bits.take()
    if bits.take():
        bits.take(4)
        if bits.take():
            bits.take(8)
            is_hdr = bits.take(8) in _HDR_TRANSFERS
    return pixel, is_hdr
