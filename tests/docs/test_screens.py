"""The screens in docs/screens.md: of every scene in both sizes, and made by a script that works."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from screens.__main__ import PAGE, README, SIZES
from screens.terminal import Size, Terminal, without_colours

from tests.cli.conftest import SECRETS

#: What a reader is to see, in the order of a day.
SCENES = (
    "validate, with 500 warnings",
    "doctor",
    "A run under way",
    "A run in an outage",
    "The end of a run, with a failure",
    "status",
    "status BATCH",
    "watch",
    "run --help, its first screen",
)
_SCREEN = re.compile(r"^(\d+)x(\d+):\n\n```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def scenes() -> dict[str, list[tuple[Size, str]]]:
    """The screens of the page by their title."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {
        part.partition("\n")[0]: [
            (Size(int(columns), int(rows)), screen) for columns, rows, screen in _SCREEN.findall(part)
        ]
        for part in parts
    }


def test_every_scene_is_there_in_both_sizes() -> None:
    """And no line is wider than its terminal, which would be one that was not read from it."""
    found = scenes()

    assert tuple(found) == SCENES
    for title, screens in found.items():
        assert [size for size, _ in screens] == list(SIZES), title
        for size, screen in screens:
            assert max(map(len, screen.splitlines())) <= size.columns, (title, size)


def test_the_screens_show_what_they_are_about() -> None:
    """The words that a person looks for on such a day."""
    words = {
        "validate, with 500 warnings": "500 entries, 5",
        "doctor": "ok       service",
        "A run in an outage": "waiting: ",
        "The end of a run, with a failure": "1 failed",
        "watch": "review failed",
    }

    assert [
        title for title, word in words.items() if any(word not in screen for _, screen in scenes()[title])
    ] == []


def test_the_page_has_no_secret_and_no_place_of_the_machine_that_made_it() -> None:
    """Also where a line ends in the middle of it."""
    text = PAGE.read_text(encoding="utf-8").replace("\n", "")

    assert [secret for secret in (*SECRETS, "/tmp/") if secret in text] == []


def test_the_readme_shows_a_screen_of_the_page() -> None:
    """`scripts/write-screens` writes both."""
    (shown,) = re.findall(r"```text\n(.*?)\n```", README.read_text(encoding="utf-8"), re.DOTALL)

    assert shown in [screen for _, screen in scenes()["A run under way"]]


def test_the_part_of_a_bar_that_is_to_do_can_be_told_from_the_rest() -> None:
    """Without its colour it would look done."""
    bar = "\x1b[38;5;197m━━╸\x1b[38;5;237m━━━\x1b[39m 40 % \x1b[0m"

    assert without_colours(bar) == "━━╸─── 40 %"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_terminal_shows_what_a_command_leaves_on_it(tmp_path: Path) -> None:
    """From the command on, with what has left the screen at the top, wrapped at its width."""
    folder = tmp_path / "work"
    folder.mkdir()
    with Terminal(Size(40, 10), folder, {"PATH": os.environ["PATH"]}) as terminal:
        terminal.run("echo before")
        printed = terminal.run("seq -s ' ' 20; seq 12")

    lines = printed.splitlines()
    assert lines[:3] == ["$ seq -s ' ' 20; seq 12", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 1", "7 18 19 20"]
    assert lines[3:] == [str(number) for number in range(1, 13)]
