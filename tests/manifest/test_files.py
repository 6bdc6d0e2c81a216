"""The files of an entry are looked at before anything is sent."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.entries import Entry, Place
from orchestrator.manifest import LocalFiles, Problem, Severity, inspect_files
from orchestrator.manifest.files import file_number, format_of, zip_complaint
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.rules.rule import Verdict
from orchestrator.simulator.footage import (
    sample_footage,
    write_audio_zip,
    write_footage,
    write_letter,
    write_picture,
)

#: `make(field=value, ...)` gives an entry whose files are all there and right, but for what is named.
Make = Callable[..., Entry]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Entries with good files."""
    (tmp_path / "film.mp4").write_bytes(sample_footage())
    for seed, name in enumerate(("front.png", "back.png")):
        write_picture(tmp_path / name, seed)
    write_letter(tmp_path / "letter.pdf", 1)
    good = {
        "name": "Anna",
        "contact": "ops@example.com",
        "training_video": str(tmp_path / "film.mp4"),
        "id_card_image1": str(tmp_path / "front.png"),
        "id_card_image2": str(tmp_path / "back.png"),
        "grant_file": str(tmp_path / "letter.pdf"),
    }

    def entry(**fields: Any) -> Entry:
        avatar = Avatar.model_validate(
            {**good, **{key: str(v) if isinstance(v, Path) else v for key, v in fields.items()}}
        )
        return Entry("anna", avatar, 7, {"cover": Place(9, 12)})

    return entry


def problems_of(entry: Entry, *, with_media: bool = False) -> list[Problem]:
    return inspect_files(entry, LocalFiles(), with_media=with_media, manifest_file="m.yaml")[1]


def test_good_files_become_assets_with_their_fingerprints(make: Make, tmp_path: Path) -> None:
    """In the order of the kinds, without a complaint even about the film."""
    assets, problems = inspect_files(make(), LocalFiles(), with_media=True, manifest_file="m.yaml")

    assert problems == []
    assert [asset.kind for asset in assets] == [
        AssetKind.TRAINING_VIDEO,
        AssetKind.ID_CARD_IMAGE1,
        AssetKind.ID_CARD_IMAGE2,
        AssetKind.GRANT_FILE,
    ]
    status = (tmp_path / "film.mp4").stat()
    fingerprint = assets[0].fingerprint
    assert (fingerprint.size, fingerprint.mtime_ns, fingerprint.inode) == (
        status.st_size,
        status.st_mtime_ns,
        status.st_ino,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "no such file"),
        ("nowhere/a.png", "does not exist)"),
        ("folder", "is a directory"),
        ("empty.png", "is empty"),
        ("fifo", "is not a regular file"),
        ("socket", "is not a regular file"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_a_file_that_cannot_be_sent_is_an_error_at_its_field(
    make: Make, tmp_path: Path, name: str, words: str
) -> None:
    """It is left out of the assets; the others are still there."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    assets, problems = inspect_files(
        make(cover=tmp_path / name), LocalFiles(), with_media=False, manifest_file="m.yaml"
    )

    (problem,) = problems
    assert words in problem.message
    assert (problem.file, problem.line, problem.column) == ("m.yaml", 9, 12)
    assert (problem.entry, problem.field, problem.severity) == ("anna", "cover", Severity.ERROR)
    assert AssetKind.COVER not in {asset.kind for asset in assets}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_error(make: Make, tmp_path: Path) -> None:
    """Found by opening it."""
    write_picture(tmp_path / "secret.png", 1)
    (tmp_path / "secret.png").chmod(0)

    assert "Permission denied" in problems_of(make(cover=tmp_path / "secret.png"))[0].message


def test_the_same_file_under_two_kinds_is_an_error_however_it_is_named(make: Make, tmp_path: Path) -> None:
    """A link is the same file."""
    (tmp_path / "link.mp4").symlink_to(tmp_path / "film.mp4")
    (problem,) = problems_of(make(action_video=tmp_path / "link.mp4"))

    assert (problem.field, problem.severity) == ("action_video", Severity.ERROR)
    assert "training_video" in problem.message


def test_files_without_an_inode_are_not_taken_for_the_same(make: Make, tmp_path: Path) -> None:
    """To some network file systems the inode of every file is 0."""
    entry, local, seen = make(action_video=tmp_path / "other.mp4"), LocalFiles(), LocalFiles().look
    (tmp_path / "other.mp4").write_bytes(sample_footage())
    local.look = lambda kind, path: seen(kind, path)._replace(file=file_number(7, 0))

    assert inspect_files(entry, local, with_media=False, manifest_file="m.yaml")[1] == []


def test_a_cover_that_is_also_another_picture_is_only_doubtful(make: Make, tmp_path: Path) -> None:
    """People do that on purpose."""
    (problem,) = problems_of(make(cover=tmp_path / "front.png"))

    assert problem.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "MOV file; `ffmpeg"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "MOV file; `ffmpeg"),
        (b"\x1aE\xdf\xa3" + b"\0" * 40, "Matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"hello", "file of another format"),
    ],
)
def test_a_video_is_an_mp4_by_its_content(make: Make, tmp_path: Path, content: bytes, words: str) -> None:
    """Whatever its name says."""
    (tmp_path / "wrong.mp4").write_bytes(content)
    (problem,) = problems_of(make(training_video=tmp_path / "wrong.mp4"), with_media=True)

    assert problem.severity is Severity.ERROR
    assert words in problem.message


@pytest.mark.parametrize(
    ("fields", "field"), [({"cover": "letter.pdf"}, "cover"), ({"grant_file": "letter.txt"}, "grant_file")]
)
def test_an_unusual_picture_or_letter_is_a_warning(
    make: Make, tmp_path: Path, fields: dict[str, str], field: str
) -> None:
    """The vendor documents no formats."""
    (tmp_path / "letter.txt").write_text("Dear Sirs")
    entry = make(grant_file=tmp_path / "front.jpg")
    (tmp_path / "front.jpg").write_bytes(b"\xff\xd8\xff\xda a JPEG letter is fine\xff\xd9")
    assert problems_of(entry) == []

    changed = {"grant_file": tmp_path / "front.jpg", **{k: tmp_path / v for k, v in fields.items()}}
    (problem,) = problems_of(make(**changed))

    assert (problem.field, problem.severity) == (field, Severity.WARNING)


def test_audio_must_be_a_zip_with_a_file_in_it(make: Make, tmp_path: Path) -> None:
    """A renamed WAV, a cut zip and an empty one are refused."""
    good, cut, bare = (tmp_path / name for name in ("good.zip", "cut.zip", "bare.zip"))
    write_audio_zip(good, 1)
    cut.write_bytes(good.read_bytes()[:-30])
    zipfile.ZipFile(bare, "w").close()

    assert problems_of(make(audio=good, audio_source_type="AUDIO")) == []
    for path, words in ((cut, "not complete"), (bare, "without any file")):
        (problem,) = problems_of(make(audio=path, audio_source_type="AUDIO"))
        assert words in problem.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(at=st.integers(0, 200), junk=st.binary(min_size=1, max_size=8))
@example(at=30, junk=b"\x00")  # an empty name in the index
def test_no_damaged_zip_raises(tmp_path: Path, at: int, junk: bytes) -> None:
    """Damage is a complaint, or goes unnoticed, but is no traceback."""
    path = tmp_path / "voice.zip"
    write_audio_zip(path, 1)
    content = path.read_bytes()
    at = len(content) - 1 - at
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])

    assert zip_complaint(str(path)) is None or "zip" in str(zip_complaint(str(path)))


def test_a_single_file_over_5_gib_does_not_fit_the_store(make: Make, tmp_path: Path) -> None:
    """A video of that size does: it is sent in parts."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.seek(5 * 1024**3 - 7)
        file.write(b"IEND....")
    write_footage(tmp_path / "huge.mp4", size=5 * 1024**3 + 1, seed=1)
    entry = make(cover=tmp_path / "huge.png", training_video=tmp_path / "huge.mp4")

    (problem,) = problems_of(entry)

    assert problem.field == "cover"
    assert "5 GiB" in problem.message


def test_an_explicit_part_count_that_makes_parts_too_small_is_an_error(make: Make, tmp_path: Path) -> None:
    """The message says how many would do."""
    write_footage(tmp_path / "large.mp4", size=1_000_000, seed=1)
    entry = make(training_video=tmp_path / "large.mp4", video_multipart_count=11)

    (problem,) = problems_of(entry)

    assert (problem.field, problem.severity) == ("training_video", Severity.ERROR)
    assert "at most 10" in problem.message


@pytest.mark.parametrize(("count", "is_warned"), [(50, False), (51, True), (1000, True)])
def test_more_than_fifty_parts_are_warned_of_before_a_job_is_made(
    make: Make, tmp_path: Path, count: int, is_warned: bool
) -> None:
    """The service may not give so many URLs."""
    with (tmp_path / "large.mp4").open("wb") as film:
        film.write(b"\x00\x00\x00\x18ftypmp42")
        film.truncate(110_000_000)
    entry = make(training_video=tmp_path / "large.mp4", video_multipart_count=count)

    found = [problem for problem in problems_of(entry) if problem.rule == "M07"]

    assert [(problem.severity, f"needs {count} upload URLs" in problem.message) for problem in found] == (
        [(Severity.WARNING, True)] if is_warned else []
    )


@pytest.mark.parametrize(("own_count", "severity"), [(None, Severity.WARNING), (9, Severity.ERROR)])
def test_an_inherited_part_count_is_lowered_with_a_warning(
    make: Make, tmp_path: Path, own_count: int | None, severity: Severity
) -> None:
    """One of its own is taken at its word."""
    write_footage(tmp_path / "large.mp4", size=1_000_000, seed=1)
    write_footage(tmp_path / "action.mp4", size=300_000, seed=2)
    entry = make(
        training_video=tmp_path / "large.mp4",
        action_video=tmp_path / "action.mp4",
        video_multipart_count=9,
        action_video_multipart_count=own_count,
    )

    (problem,) = problems_of(entry)

    assert (problem.field, problem.severity) == ("action_video", severity)
    assert "3" in problem.message


def test_what_the_review_asks_of_most_accounts_is_one_warning(make: Make) -> None:
    """Missing id cards and letter."""
    (problem,) = problems_of(make(id_card_image2=None, grant_file=None))

    assert problem.severity is Severity.WARNING
    assert "id_card_image2, grant_file" in problem.message


def test_a_film_that_is_cut_off_is_an_error_only_when_media_are_checked(make: Make, tmp_path: Path) -> None:
    """It begins like an MP4, but has no index."""
    (tmp_path / "cut.mp4").write_bytes(sample_footage()[:200])
    entry = make(training_video=tmp_path / "cut.mp4")

    assert problems_of(entry) == []
    (problem,) = problems_of(entry, with_media=True)
    assert "is cut within its index" in problem.message


def test_an_action_video_is_looked_into_too(make: Make, tmp_path: Path) -> None:
    """It goes through the same review, but brings no voice."""
    (tmp_path / "cut.mp4").write_bytes(sample_footage()[:-1000])

    (problem,) = problems_of(make(action_video=tmp_path / "cut.mp4"), with_media=True)

    assert (problem.field, problem.rule, problem.verdict) == ("action_video", "P01", Verdict.REFUSED)


def test_a_warning_about_a_film_can_be_ignored(make: Make, tmp_path: Path) -> None:
    """By its rule, for one entry; another's stays."""
    silent = tmp_path / "silent.mp4"
    silent.write_bytes(sample_footage().replace(b"soun", b"meta"))
    entry = make(training_video=silent)

    assert [problem.rule for problem in problems_of(entry, with_media=True)] == ["P04"]
    assert problems_of(replace(entry, ignored=frozenset({"P04"})), with_media=True) == []


def test_a_film_is_read_once_while_it_stays_the_same(make: Make, tmp_path: Path) -> None:
    """What was found is kept by device, inode, size and time of change; any of them makes it another film."""
    film, cache = tmp_path / "film.mp4", Cache(tmp_path / "cache.db")
    os.utime(film, (1, 1))
    known = film.stat()

    assert inspect_files(make(), LocalFiles(cache), with_media=True, manifest_file="m.yaml")[1] == []
    cut = sample_footage()[:-1000]
    film.write_bytes(cut + bytes(len(sample_footage()) - len(cut)))
    os.utime(film, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert inspect_files(make(), LocalFiles(cache), with_media=True, manifest_file="m.yaml")[1] == []
    os.utime(film, (2, 2))
    (problem,) = inspect_files(make(), LocalFiles(cache), with_media=True, manifest_file="m.yaml")[1]
    assert problem.rule == "P01"


@given(st.binary(max_size=40))
def test_any_beginning_of_a_file_has_a_format_or_none(head: bytes) -> None:
    """Short and odd files do not raise."""
    assert format_of(head) is None or isinstance(format_of(head), str)


def test_what_entries_share_is_looked_at_once_for_each_moment(make: Make, tmp_path: Path) -> None:
    """A change is seen by whoever looks anew, not half-way through the entries of one moment."""
    moment = LocalFiles()
    before = inspect_files(make(), moment, with_media=False, manifest_file="m.yaml")

    (tmp_path / "letter.pdf").unlink()

    assert inspect_files(make(), moment, with_media=False, manifest_file="m.yaml") == before
    assert moment.fingerprint(str(tmp_path / "film.mp4")) == before[0][0].fingerprint
    assert LocalFiles().fingerprint(str(tmp_path / "letter.pdf")) is None
    assert "letter.pdf: no such file" in problems_of(make())[0].message


def test_a_film_that_went_away_while_it_was_looked_at_is_an_error(make: Make, tmp_path: Path) -> None:
    """It was there a moment ago, when the file was looked for; a share that broke off does this."""
    entry, local = make(), LocalFiles()
    for kind, path in entry.avatar.files().items():
        local.look(kind, path)
    (tmp_path / "film.mp4").unlink()

    (problem,) = inspect_files(entry, local, with_media=True, manifest_file="m.yaml")[1]

    assert (problem.rule, problem.field, problem.is_error) == ("M05", "training_video", True)
    assert "no such file" in problem.message
