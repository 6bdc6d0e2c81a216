"""Paths: relative to the manifest, `~`, variables, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest.paths import PathError, absolute_path, escaped_path

ENVIRONMENT = {"STUDIO": "/mnt/studio", "DAY": "monday"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.mp4", "/m/a.mp4"),
        ("./a.mp4", "/m/a.mp4"),
        ("../a.mp4", "/m/../a.mp4"),
        ("/x/a.mp4", "/x/a.mp4"),
        ("$STUDIO/a.mp4", "/mnt/studio/a.mp4"),
        ("${STUDIO}/$DAY.mp4", "/mnt/studio/monday.mp4"),
        ("$$STUDIO", "/m/$STUDIO"),
        ("5$.mp4", "/m/5$.mp4"),
        ("陈/a b.mp4", "/m/陈/a b.mp4"),
    ],
)
def test_a_path_starts_at_the_manifest_and_expands_variables(text: str, path: str) -> None:
    """As a shell would, but nothing more."""
    assert absolute_path(text, "/m", ENVIRONMENT) == path


def test_the_home_directory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` alone and before a slash."""
    monkeypatch.setenv("HOME", "/home/anna")

    assert absolute_path("~/a.mp4", "/m", ENVIRONMENT) == "/home/anna/a.mp4"


@pytest.mark.parametrize(
    ("text", "words"), [("$NOWHERE/a", "NOWHERE is not set"), ("~nobody-of-that-name/a", "home directory")]
)
def test_what_cannot_be_expanded_is_named(text: str, words: str) -> None:
    """An unset variable must not become nothing."""
    with pytest.raises(PathError, match=words):
        absolute_path(text, "/m", ENVIRONMENT)


def test_a_folder_whose_name_is_no_text_is_refused() -> None:
    """The journal keeps paths as UTF-8."""
    with pytest.raises(PathError, match="not UTF-8"):
        absolute_path("a.mp4", "/m\udcff", ENVIRONMENT)


@given(st.text(st.sampled_from("$${}ASTUDIO_/~a")))
def test_an_absolute_path_survives_being_written_and_read(tail: str) -> None:
    """Whatever dollars are in it."""
    path = "/x" + tail

    assert absolute_path(escaped_path(path), "/m", ENVIRONMENT) == path
