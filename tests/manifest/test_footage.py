"""The files to rehearse with are what they claim to be."""

import zipfile
from pathlib import Path

import pytest
from pymediainfo import MediaInfo

from orchestrator.domain.assets import plan_segments
from orchestrator.simulator.footage import (
    sample_footage,
    write_audio_zip,
    write_footage,
    write_letter,
    write_picture,
)


def read_range(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


@pytest.mark.parametrize("size", [len(sample_footage()), 150_000, 5_000_003, 300 * 1024**2])
def test_a_film_has_the_asked_size_and_stays_a_film(tmp_path: Path, size: int) -> None:
    """Growing the sample keeps it an MP4 that the service's rules allow."""
    film = tmp_path / "film.mp4"

    write_footage(film, size=size, seed=1)

    assert film.stat().st_size == size
    video = MediaInfo.parse(film).video_tracks[0]
    assert (video.format, video.width, video.height) == ("AVC", 1920, 1080)
    assert 180 <= float(video.duration) / 1000 <= 300


def test_the_index_of_the_sample_comes_before_its_pictures() -> None:
    """A reader finds the index without reading the whole file."""
    assert 0 < sample_footage().index(b"moov") < sample_footage().index(b"mdat")


@pytest.mark.parametrize("size", [20 * 1024**2, 300 * 1024**2])
def test_no_two_segments_of_a_film_are_alike(tmp_path: Path, size: int) -> None:
    """A segment stored in another's place would be noticed."""
    film = tmp_path / "film.mp4"
    write_footage(film, size=size, seed=1)

    segments = [read_range(film, part.offset, 2 * 1024**2) for part in plan_segments(size, 10)]

    assert len(set(segments)) == 10


def test_a_film_depends_on_its_seed_alone(tmp_path: Path) -> None:
    """Two avatars do not share a film; the same avatar gets the same again."""
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        write_footage(tmp_path / name, size=3_000_000, seed=seed)

    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_a_film_of_more_than_4_gib_has_a_box_that_can_say_so(tmp_path: Path) -> None:
    """The length of the padding does not fit the short box header."""
    film = tmp_path / "film.mp4"

    write_footage(film, size=5 * 1024**3, seed=1)

    assert film.stat().st_size == 5 * 1024**3
    assert MediaInfo.parse(film).video_tracks[0].width == 1920
    film.unlink()


def test_a_size_without_room_for_the_padding_is_refused(tmp_path: Path) -> None:
    """The sentence names the sizes that can be had, and no file is left behind."""
    with pytest.raises(ValueError, match=r"at least \d+"):
        write_footage(tmp_path / "film.mp4", size=1000, seed=1)

    assert not (tmp_path / "film.mp4").exists()


def test_pictures_letters_and_recordings_are_of_their_format(tmp_path: Path) -> None:
    """Each small file is read by somebody else's reader or begins and ends as its format says."""
    write_picture(tmp_path / "card.png", 1)
    write_letter(tmp_path / "letter.pdf", 1)
    write_audio_zip(tmp_path / "voice.zip", 1)

    assert MediaInfo.parse(tmp_path / "card.png").image_tracks[0].format == "PNG"
    letter = (tmp_path / "letter.pdf").read_bytes()
    assert letter.startswith(b"%PDF-")
    assert letter[int(letter.split(b"startxref\n")[1].split()[0]) :].startswith(b"xref")
    with zipfile.ZipFile(tmp_path / "voice.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["voice.wav"]
