"""MD5s of segments of a local file, to compare with those of what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.md5 import Md5, best_md5
from orchestrator.transfer.source import Source

_PIECE_BYTES: Final = 128 * 1024


def md5s_of(asset: Asset, segments: Sequence[Segment]) -> list[str]:
    """The hex MD5s of *segments* of the file, as many at once as MD5 has lanes; blocks.

    Raises SourceChangedError when the file is not, or does not stay, as *asset* says.
    """
    md5 = best_md5()
    source = Source(asset)
    try:
        source.open()
        digests: list[str] = []
        for first in range(0, len(segments), md5.lanes):
            digests += _md5s_in_lanes(source, segments[first : first + md5.lanes], md5)
        source.check()
    finally:
        source.close()
    return digests


def _md5s_in_lanes(source: Source, segments: Sequence[Segment], md5: Md5) -> list[str]:
    digests = [md5.new_digest() for _ in segments]
    buffers = [memoryview(bytearray(_PIECE_BYTES)) for _ in segments]
    longest = max(segment.length for segment in segments)
    for done in range(0, longest, _PIECE_BYTES):
        lanes = [number for number, segment in enumerate(segments) if segment.length > done]
        pieces = []
        for number in lanes:
            piece = buffers[number][: segments[number].length - done]
            source.read_into(piece, segments[number].offset + done)
            pieces.append(piece)
        md5.update_all([digests[number] for number in lanes], pieces)
    return [digest.hexdigest() for digest in digests]
