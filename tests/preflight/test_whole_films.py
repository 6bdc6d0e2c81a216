"""A film that was cut anywhere is noticed, and one that is whole is not suspected (rule P01)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymediainfo import MediaInfo

from orchestrator.preflight.films.film import examine_film, read_film
from orchestrator.simulator.footage import sample_footage, write_footage
from tests.preflight.conftest import SHAPES, examined

Shaped = Callable[[str], bytes]
_CUTS = 150


def box(name: bytes, content: bytes) -> bytes:
    """A box with the short header."""
    return struct.pack(">I4s", 8 + len(content), name) + content


@pytest.mark.parametrize("shape", [*SHAPES, "sample"])
def test_a_whole_film_is_not_suspected(shaped: Shaped, shape: str) -> None:
    """However the program that wrote it arranges its boxes; MediaInfo reads the same from it."""
    content = shaped(shape)
    film = examined(content)

    assert film.damage is None
    video = MediaInfo.parse(io.BytesIO(content)).video_tracks[0]
    assert (film.width, film.height, film.bit_depth) == (video.width, video.height, video.bit_depth)
    assert film.seconds == pytest.approx(float(video.duration) / 1000, abs=0.1)
    assert film.sound_seconds == pytest.approx(190, abs=0.5)
    assert film.pictures_per_second == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("shape", ["index last", "index first", "fragments with an index of pieces", "dash"])
def test_a_film_that_is_cut_anywhere_is_not_whole(shaped: Shaped, shape: str) -> None:
    """Within the header, the index, the pictures, or one byte before the end."""
    content = shaped(shape)
    cuts = [*range(0, len(content), len(content) // _CUTS), len(content) - 1]

    assert [cut for cut in cuts if examined(content[:cut]).damage is None] == []


def test_fragments_that_are_cut_within_one_are_not_whole(shaped: Shaped) -> None:
    """Without an index of pieces a film that ends after a fragment cannot be told from a shorter one."""
    content = shaped("fragments")
    cuts = [*range(0, len(content), len(content) // _CUTS), len(content) - 1]

    missed = [cut for cut in cuts if examined(content[:cut]).damage is None]

    assert len(missed) <= 1


def test_the_end_of_an_open_ended_film_is_known_from_its_index() -> None:
    """A last box of length 0 goes to the end of the file, wherever that is."""
    content = bytearray(sample_footage())
    start = content.index(b"mdat") - 4
    content[start : start + 4] = bytes(4)

    assert examined(bytes(content)).damage is None
    assert "is cut before its last picture" in str(examined(bytes(content[:-200])).damage)


def test_boxes_and_offsets_of_64_bits_are_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Films over 4 GiB have them: one that lacks its last bytes is cut."""
    path = tmp_path_factory.mktemp("large") / "film.mp4"
    write_footage(path, size=5 * 1024**3, seed=1)
    assert read_film(str(path)).damage is None

    with path.open("r+b") as file:
        file.truncate(5 * 1024**3 - 1)
    assert "is cut within free" in str(read_film(str(path)).damage)
    path.unlink()


def test_long_offsets_of_chunks_are_read(shaped: Shaped) -> None:
    """`co64` instead of `stco`, as cameras write it."""
    content = shaped("index last")
    moov = content.index(b"moov") - 4
    index = bytearray(content[moov:])
    place = 0
    grown = []
    while (place := index.find(b"stco", place)) > 0:
        (count,) = struct.unpack_from(">I", index, place + 8)
        offsets = struct.unpack_from(f">{count}I", index, place + 12)
        long_table = box(b"co64", struct.pack(f">II{count}Q", 0, count, *offsets))
        index[place - 4 : place + 12 + 4 * count] = long_table
        grown.append((place, 4 * count))
        place += len(long_table)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        _grow(index, name, grown)
    whole = content[:moov] + bytes(index)

    assert examined(whole).damage is None
    assert examined(whole).seconds == pytest.approx(190)


def _grow(index: bytearray, name: bytes, grown: list[tuple[int, int]]) -> None:
    """Add to the length of each box *name* what the tables in it have grown by."""
    place = -1
    while (place := index.find(name, place + 1)) > 0:
        (length,) = struct.unpack_from(">I", index, place - 4)
        more = sum(by for at, by in grown if place < at < place + length + by)
        struct.pack_into(">I", index, place - 4, length + more)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has only its header"),
        (box(b"ftyp", b"isom\0\0\2\0isom"), "has only its header"),
        (box(b"ftyp", b"isom\0\0\2\0isom") + box(b"mdat", bytes(50)), "has no index (moov)"),
        (box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100))), "has no video that can be read"),
        (box(b"ftyp", b"isom") + b"\0\0\0\1moov" + struct.pack(">Q", 1 << 60), "is cut within its index"),
    ],
)
def test_what_has_no_picture_says_what_it_lacks(content: bytes, words: str) -> None:
    """Header only, no index, no track, an index that goes on for ever."""
    assert words in str(examined(content).damage)


def test_a_copy_that_only_reserved_its_space_is_not_whole(shaped: Shaped) -> None:
    """The size is right and the end is zeros, as some copying programs leave it."""
    content = shaped("index first")

    assert "reserved the space" in str(examined(content[:60_000] + bytes(len(content) - 60_000)).damage)


def test_bytes_after_the_last_box_are_harmless() -> None:
    """Cameras add their own, some without a box."""
    for tail in (b"\0" * 3, b"\0" * 500, b"\xff\xfe\xfd" * 9):
        assert examined(sample_footage() + tail).damage is None


@given(at=st.integers(0, 30_000), junk=st.binary(min_size=1, max_size=12))
def test_no_damage_makes_the_reader_fail(at: int, junk: bytes) -> None:
    """Whatever stands in the index, there is an answer, from bounded reads."""
    content = sample_footage()
    content = content[:at] + junk + content[at + len(junk) :]

    film = examine_film(lambda offset, length: content[offset : offset + min(length, 1 << 20)], len(content))

    assert film.damage is None or film.damage
