"""One file for two avatars is most often a copied row: rule M08."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.manifest import LocalFiles, Problem, inspect_files, open_manifest
from orchestrator.manifest.files import MAX_COPIES, Copies, file_number

Read = Callable[..., Any]
OWN = ("training_video", "action_video", "audio", "id_card_image1", "id_card_image2")
SHARED = ("cover", "grant_file")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of each letter."""
    for name in "abcde":
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a")
    return tmp_path


def copies_in(manifest_file: Path, content: str, **options: Any) -> list[Problem]:
    """The M08 problems of a manifest with that *content*."""
    manifest_file.write_text(content)
    manifest = open_manifest(manifest_file, **options)
    local, copies = LocalFiles(), manifest.copies()
    return [
        problem
        for entry in manifest.entries()
        for problem in inspect_files(entry, local, copies, with_media=False, manifest_file="m")[1]
        if problem.rule == "M08"
    ]


@pytest.mark.parametrize("field", OWN)
@pytest.mark.parametrize("name", ["a", "./a", "hard", "soft"])
def test_a_file_of_two_avatars_is_a_warning_with_both_lines(folder: Path, field: str, name: str) -> None:
    """Whatever it is called the second time."""
    other = "cover" if field == "training_video" else "training_video"
    rows = (f"name,{other},{field}", "Anna,b,a", "Bo,c,d", f"Cy,e,{name}")
    defaults = {"audio_source_type": "AUDIO"} if field == "audio" else {}
    (problem,) = copies_in(folder / "m.csv", "\n".join(rows), defaults=defaults)

    assert (problem.entry, problem.field, problem.line) == ("cy", field, 4)
    assert "the avatar in line 2" in problem.message
    assert not problem.is_error


def test_a_film_that_is_another_avatars_action_film_is_found(folder: Path) -> None:
    """Two columns may be mixed up as well as two rows."""
    content = "name,training_video,action_video\nAnna,a,b\nBo,c,a\n"

    assert [problem.field for problem in copies_in(folder / "m.csv", content)] == ["action_video"]


@pytest.mark.parametrize("field", SHARED)
def test_letters_and_covers_may_be_shared(folder: Path, field: str) -> None:
    """A studio has one letter for all."""
    content = f"name,training_video,{field}\nAnna,a,e\nBo,b,e\n"

    assert copies_in(folder / "m.csv", content) == []


def test_equal_bytes_are_not_the_same_file(folder: Path) -> None:
    """Nothing is read to compare; two silent voices may be alike."""
    (folder / "copy").write_text("a")

    assert copies_in(folder / "m.csv", "name,training_video\nAnna,a\nBo,copy\n") == []


def test_what_the_defaults_give_to_all_is_meant(folder: Path) -> None:
    """From the file or from the command line."""
    yaml = (
        "defaults: {audio: e, audio_source_type: AUDIO}\n"
        "avatars: [{name: Anna, training_video: a}, {name: Bo, training_video: b}]\n"
    )
    table = "name,training_video\nAnna,a\nBo,b\n"

    assert copies_in(folder / "m.yaml", yaml) == []
    assert copies_in(folder / "m.csv", table, defaults={"id_card_image1": "e"}) == []


def test_two_avatars_in_one_line_are_two(folder: Path) -> None:
    """JSON has no line breaks."""
    (problem,) = copies_in(
        folder / "m.json",
        '{"avatars": [{"name": "Anna", "training_video": "a"}, {"name": "Bo", "training_video": "a"}]}',
    )

    assert problem.entry == "bo"


def test_an_avatar_that_means_it_says_so(folder: Path) -> None:
    """The rule can be ignored for it."""
    content = "name,training_video,ignore\nAnna,a,\nBo,a,M08\n"

    assert copies_in(folder / "m.csv", content) == []


def test_a_file_of_a_whole_batch_is_named_ten_times(folder: Path) -> None:
    """A trial of 50,000 avatars of one film needs no 50,000 warnings."""
    rows = (f"Avatar {number},a\n" for number in range(2 * MAX_COPIES))

    assert len(copies_in(folder / "m.csv", "name,training_video\n" + "".join(rows))) == MAX_COPIES


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.one_of(st.integers(0, 40), st.integers(2**64 - 3, 2**64 - 1))),
        max_size=300,
    )
)
def test_the_first_line_of_every_file_is_remembered(files: list[tuple[int, int]]) -> None:
    """As a dictionary would, over devices, over growth; an inode of 0 says nothing."""
    copies, expected, named = Copies(), {}, Counter()
    for line, (device, inode) in enumerate(files, 10):
        asset = Asset(AssetKind.TRAINING_VIDEO, "a", Fingerprint(1, 1, inode))
        first = expected.setdefault((device, inode), line) if inode else line

        named[device, inode] += 1
        is_told = first != line and named[device, inode] <= MAX_COPIES + 1
        assert copies.named_before(line, [(asset, file_number(device, inode))]) == (
            [(asset, first)] if is_told else []
        )
