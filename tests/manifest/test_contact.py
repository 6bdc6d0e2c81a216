"""A contact is given and looks like one; it is never repeated (rule P07)."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.manifest import LocalFiles, Problem, inspect_files, open_manifest


def said_of(contact: str, folder: Path, ignore: str = "") -> list[Problem]:
    """What P07 finds in a manifest with that *contact*."""
    (folder / "a.mp4").write_bytes(b"a film")
    path = folder / "studio.csv"
    path.write_text(f"name,training_video,contact,ignore\nAnna,a.mp4,{contact},{ignore}\n")
    (entry,) = open_manifest(path).entries()
    _, problems = inspect_files(entry, LocalFiles(), with_media=False, manifest_file=str(path))
    return [problem for problem in problems if problem.rule == "P07"]


@pytest.mark.parametrize(
    "contact", ["13800000000", "+86 138-0000-0000", "010-12345678", "ops@example.com", "李 1380000000"]
)
def test_a_number_or_an_address_is_a_contact(tmp_path: Path, contact: str) -> None:
    """However it is written."""
    assert said_of(contact, tmp_path) == []


@pytest.mark.parametrize("contact", ["", "1", "123456", "Li Lei", "@", "ops@"])
def test_what_is_neither_is_a_warning_that_does_not_repeat_it(tmp_path: Path, contact: str) -> None:
    """At its column; without one, that none is given."""
    (problem,) = said_of(contact, tmp_path)

    assert (problem.column, problem.is_error, problem.verdict) == ("contact", False, "look_first")
    assert ("is not given" in problem.message) is not bool(contact)
    assert len(contact) < 2 or contact not in problem.message


def test_the_warning_can_be_ignored(tmp_path: Path) -> None:
    """Where a review that asks nothing is expected."""
    assert said_of("", tmp_path, ignore="P07") == []
