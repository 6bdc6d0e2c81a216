"""The README's commands, pasted one after the other by somebody who has read nothing else."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.docs.conftest import ROOT, Desk
from tests.docs.pasting import Page, sections

README = ROOT / "README.md"
#: Columns in which the page can be read without wrapping.
COLUMNS = 100


@pytest.fixture
def exports(desk: Desk) -> Iterator[str]:
    """What the first terminal prints, in which the README's simulator runs until the test is over."""
    (heading, [command, *_]), *_ = sections(README.read_text(encoding="utf-8"))
    assert heading == "A batch of your own, without an account"
    with subprocess.Popen(
        ["/bin/bash", "-c", f"exec {command}"],
        cwd=desk.home,
        env=desk.shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as first_terminal:
        assert first_terminal.stdout is not None
        yield "".join(first_terminal.stdout.readline() for _ in range(4))
        first_terminal.terminate()
    assert first_terminal.returncode == 0


@pytest.mark.long
def test_a_new_reader_gets_to_a_finished_batch(desk: Desk, exports: str) -> None:
    """The lines that the simulator prints are pasted as the page says, then its commands."""
    desk.shell.folder = desk.home
    desk.shell.environment = {name: desk.shell.environment[name] for name in ("HOME", "PATH", "LANG")}
    desk.type(exports)
    page = Page(README, desk.shell, skipped=1)

    printed = page.paste("A batch of your own, without an account").text
    assert "sample: 3 of 3 entries done" in printed
    assert "3 confirmed; last run" in printed
    assert (desk.home / "report.html").exists()


@pytest.mark.long
def test_the_first_real_batch(desk: Desk) -> None:
    """Footage in a folder and keys; the service is another than that of the region, as a test needs it."""
    footage = desk.home / "footage"
    desk.batch.manifest.unlink()
    desk.batch.folder.rename(footage)
    desk.shell.folder = desk.home
    page = Page(README, desk.shell, skipped=7)

    page.paste("The first real batch")
    page.finish()
    assert len(desk.simulator.jobs) == 2
    assert (desk.home / "results.csv").exists()


def test_the_page_can_be_read_in_a_terminal() -> None:
    """No line is longer than its columns."""
    lines = README.read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if len(line) >= COLUMNS] == []


def test_the_two_commands_are_those_that_the_checks_use() -> None:
    """What a reader is told to run first is there, can be run, and is what `scripts/check` runs."""
    commands = re.findall(r"^(scripts/\w+) ", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert commands == ["scripts/demo", "scripts/test"]
    assert all((ROOT / command).stat().st_mode & 0o111 for command in commands)
    assert "\nscripts/test\n" in (ROOT / "scripts/check").read_text(encoding="utf-8")
