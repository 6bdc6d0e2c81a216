"""Films in the shapes that programs write them in, all with the sample's pictures and sound."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import pytest

from orchestrator.preflight.films.film import Film, examine_film
from orchestrator.simulator.footage import sample_footage

#: By name, the muxer's options.
SHAPES = {
    "index last": {},
    "index first": {"movflags": "+faststart"},
    "fragments": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "fragments with an index of pieces": {"movflags": "frag_keyframe+empty_moov+global_sidx"},
    "dash": {"movflags": "dash+delay_moov"},
}


def remuxed(options: dict[str, str]) -> bytes:
    """The sample's packets in a file of another shape."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        _remux(path, options)
        return path.read_bytes()


def _remux(path: Path, options: dict[str, str]) -> None:
    with (
        av.open(io.BytesIO(sample_footage())) as source,
        av.open(str(path), "w", format="mp4", options=options) as film,
    ):
        streams = {stream.index: film.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                film.mux(packet)


def examined(content: bytes) -> Film:
    """What is known of a film that has *content*."""
    return examine_film(lambda offset, length: content[offset : offset + length], len(content))


@pytest.fixture(scope="session")
def shaped() -> Callable[[str], bytes]:
    """The film of a shape, made once."""
    made: dict[str, bytes] = {}

    def film(shape: str) -> bytes:
        if shape not in made:
            made[shape] = sample_footage() if shape == "sample" else remuxed(SHAPES[shape])
        return made[shape]

    return film
