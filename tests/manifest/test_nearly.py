"""Paths that are nearly right: what is there, or what the path is instead, is said (rule M05)."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from orchestrator.manifest import LocalFiles, Problem, inspect_files, open_manifest
from orchestrator.manifest.paths import Folders

COMPOSED = unicodedata.normalize("NFC", "José.mp4")
APART = unicodedata.normalize("NFD", COMPOSED)


def place(folder: Path, *names: str) -> None:
    """Put a file at each of *names*."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\0\0\x14ftypisom")


def problems_of(manifest_file: Path, content: str) -> list[Problem]:
    """The M05 problems of a manifest with that *content*, none with a word about anything else."""
    manifest_file.write_text(content, encoding="utf-8")
    manifest, local = open_manifest(manifest_file), LocalFiles()
    return [
        problem
        for entry in manifest.entries()
        for problem in inspect_files(entry, local, with_media=False, manifest_file="m")[1]
        if problem.rule == "M05"
    ]


@pytest.mark.parametrize(
    ("there", "written", "shown"),
    [
        (APART, COMPOSED, f"there is {APART}, whose accents are stored otherwise"),
        (COMPOSED, APART, f"there is {COMPOSED}, whose accents are stored otherwise"),
        ("Anna.MP4", "anna.mp4", "there is Anna.MP4"),
        ("Footage/Day 1/a.mp4", "footage/day 1/A.mp4", "there is Footage/Day 1/a.mp4"),
        ("footage/A.mp4", "footage/a.mp4", "there is A.mp4"),
        ("bo.mp4.mp4", "bo.mp4", "there is bo.mp4.mp4"),
        ("bo.mp4", "bo.mp4.MP4", "there is bo.mp4"),
        ("bo.mp4", "bo", "there is bo.mp4"),
        ("di bell.mp4", "di%20bell.mp4", "there is di bell.mp4"),
        ("di%20bell.mp4", "di bell.mp4", "there is di%20bell.mp4"),
        ("张.mp4", "%E5%BC%A0.mp4", "there is 张.mp4"),
        ("R&D.mp4", "R&amp;D.mp4", "there is R&D.mp4"),
        ("a  b.mp4", "a b.mp4", "an unusual blank"),
        ("a\u00a0b.mp4", "a b.mp4", "an unusual blank"),
        ("a.mp4", "\u202aa.mp4", "an invisible letter"),
        ("\uff41\uff11.mp4", "a1.mp4", "there is \uff41\uff11.mp4"),
        ("a.mp4", '"a.mp4"', "in quotes; there is a.mp4"),
        ("a.mp4", "\u201ca.mp4\u201d", "in quotes; there is a.mp4"),
        ("b/a.mp4", "'b/a.mp4'", "in quotes; there is b/a.mp4"),
        (
            "footage/c.mp4",
            "footage\\c.mp4",
            "backslashes do not separate folders here; there is footage/c.mp4",
        ),
        ("footage/c.mp4", "C:\\footage\\c.mp4", "path of Windows (drive C:); there is footage/c.mp4"),
        ("c.mp4", "d:/films/c.mp4", "path of Windows (drive D:); there is c.mp4"),
        ("x.mp4", "C:\\footage\\c.mp4", "path of Windows (drive C:); write where the file is"),
        ("footage/c.mp4", "\\\\nas\\studio\\footage\\c.mp4", "Windows share; there is footage/c.mp4"),
        ("x.mp4", "obs://bucket/a.mp4", "is an address (obs://)"),
        ("x.mp4", "S3://bucket/a.mp4", "is an address (s3://)"),
        ("x.mp4", "file:///nowhere/a.mp4", "is an address (file://); write the path alone"),
    ],
)
def test_what_is_nearly_there_is_named(tmp_path: Path, there: str, written: str, shown: str) -> None:
    """So that the one who reads it need not look for it."""
    place(tmp_path, there)
    quoted = written.replace('"', '""')
    (problem,) = problems_of(tmp_path / "m.csv", f'name,training_video\nAnna,"{quoted}"\n')

    assert shown in problem.message
    assert problem.is_error


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "file://localhost{}"])
def test_the_path_in_an_address_of_a_file_is_named(tmp_path: Path, form: str) -> None:
    """Browsers give such addresses, with blanks escaped."""
    place(tmp_path, "a b.mp4")
    address = form.format(tmp_path) + "/a%20b.mp4"
    (problem,) = problems_of(tmp_path / "m.csv", f"name,training_video\nAnna,{address}\n")

    assert problem.message.endswith(f"write {tmp_path}/a b.mp4")


def test_an_absolute_path_in_quotes_is_found(tmp_path: Path) -> None:
    """As Windows and terminals copy paths."""
    place(tmp_path, "a.mp4")
    (problem,) = problems_of(tmp_path / "m.csv", f'name,training_video\nAnna,"""{tmp_path}/a.mp4"""\n')

    assert problem.message.endswith("in quotes; there is a.mp4")


def test_a_path_that_yaml_took_for_a_comment_is_found(tmp_path: Path) -> None:
    """` #` begins one, in the middle of a line too."""
    place(tmp_path, "take #3.mp4")
    (problem,) = problems_of(
        tmp_path / "m.yaml", "avatars:\n  - name: Anna\n    training_video: take #3.mp4\n"
    )

    assert "there is take #3.mp4: in YAML # after a blank begins a comment" in problem.message


@pytest.mark.parametrize("length", [10, 5000])
def test_a_signed_address_is_not_repeated(tmp_path: Path, length: int) -> None:
    """It would be a key in a log."""
    address = f"https://bucket.obs.example.com/a.mp4?Signature=sesame{'x' * length}"
    (problem,) = problems_of(tmp_path / "m.csv", f"name,training_video\nAnna,{address}\n")

    assert "sesame" not in str(problem)
    assert "is an address (https://)" in problem.message


@pytest.mark.parametrize(
    "written", ["b.mp4", "a.mp4/b.mp4", "nowhere/a.mp4", "folder", "loop", "no\udcff.mp4"]
)
def test_nothing_is_made_up(tmp_path: Path, written: str) -> None:
    """A name that only resembles another, a folder, a link to nothing are no hint."""
    place(tmp_path, "a.mp4", "folder/x")
    (tmp_path / "loop").symlink_to("loop")

    assert Folders().explain(f"{tmp_path}/{written}") is None


def test_a_folder_is_listed_once_however_much_is_missing(tmp_path: Path) -> None:
    """50,000 films in another case would otherwise be 50,000 listings of 50,000 names."""
    place(tmp_path, "a.MP4")
    folders = Folders()
    assert folders.explain(f"{tmp_path}/a.mp4") is not None
    place(tmp_path, "later.MP4")

    assert folders.explain(f"{tmp_path}/later.mp4") is None
