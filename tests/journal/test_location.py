"""One journal by one name, whatever leads to it; and places where none can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigurationError, ExitCode, JournalError, exit_code_of
from orchestrator.journal.journal import open_journal
from orchestrator.journal.sqlite import find_journal
from tests.journal.samples import KEY, Clock, add_entry


async def make_journal(path: Path) -> None:
    """A journal with an entry."""
    async with open_journal(str(path), clock=Clock()) as journal:
        await add_entry(journal)


def names_in(folder: Path) -> list[str]:
    """What is in *folder*."""
    return sorted(place.name for place in folder.iterdir())


async def assert_one_lock(one: Path, other: Path) -> None:
    """A batch that is held in the journal opened as *one* is held in that opened as *other*."""
    async with (
        open_journal(str(one), clock=Clock()) as first,
        open_journal(str(other), clock=Clock()) as second,
        first.hold_batch(KEY),
    ):
        assert await second.batch_holder(KEY) is not None


async def test_a_symbolic_link_to_a_journal_has_its_lock(tmp_path: Path, path: Path) -> None:
    """From another folder too: two runs must not each have one."""
    await make_journal(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)

    await assert_one_lock(link, path)
    assert names_in(tmp_path) == ["link.db", path.parent.name]


async def test_a_hard_link_to_a_journal_has_its_lock_and_its_log(path: Path) -> None:
    """By the name under which it is open, so that what is in the log is not missed."""
    await make_journal(path)
    for name in ("a.db", "z.db"):
        link = path.with_name(name)
        link.hardlink_to(path)
        async with open_journal(str(path), clock=Clock()):
            assert find_journal(str(link)).path == find_journal(str(path)).path
            await assert_one_lock(path, link)
        link.unlink()


async def test_a_hard_link_made_while_the_journal_is_open_leads_to_the_open_one(path: Path) -> None:
    """The log is named after the first name."""
    async with open_journal(str(path), clock=Clock()) as journal:
        await add_entry(journal)
        link = path.with_name("a.db")
        link.hardlink_to(path)

        assert find_journal(str(link)).path == path


async def test_a_hard_link_out_of_sight_is_refused(tmp_path: Path, path: Path) -> None:
    """Nothing can tell whether it is open by that name; the hint finds it."""
    await make_journal(path)
    (tmp_path / "elsewhere.db").hardlink_to(path)

    with pytest.raises(JournalError, match="other names") as caught:
        find_journal(str(path))

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION
    assert f"find / -samefile {path}" in (caught.value.hint or "")


async def test_what_a_link_leads_to_keeps_its_mode(tmp_path: Path) -> None:
    """It may be shared on purpose; a new journal at the end of a link is private as any other."""
    for name, before, after in (("shared.db", 0o640, 0o640), ("new.db", None, 0o600)):
        target, link = tmp_path / name, tmp_path / f"link-to-{name}"
        if before is not None:
            target.touch(before)
        link.symlink_to(target)

        await make_journal(link)

        assert stat.S_IMODE(target.stat().st_mode) == after


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("{folder}/" + "x" * 300, "File name too long"),
        ("/" + "x" * 5000, "File name too long"),
        ("{folder}/a\0b", "no path has a NUL character"),
        ("/dev/null/journal.db", "Not a directory"),
    ],
    ids=["name", "path", "nul", "no folder"],
)
def test_a_place_that_cannot_be_is_a_sentence(tmp_path: Path, location: str, reason: str) -> None:
    """Exit 4, and no more of the name than can be read."""
    with pytest.raises(JournalError, match=reason) as caught:
        find_journal(location.format(folder=tmp_path))

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION
    assert len(caught.value.message) < 400


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_searched_is_a_sentence(tmp_path: Path) -> None:
    """As any other place where no journal can be."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)

    with pytest.raises(JournalError, match="Permission denied"):
        find_journal(str(folder / "journal.db"))


def test_without_a_home_the_usual_place_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder that is called ~."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)

    with pytest.raises(ConfigurationError, match="no home directory"):
        find_journal("~/.local/state/journal.db")
