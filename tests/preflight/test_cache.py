"""The cache of what is known about files: never in the way."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from orchestrator.domain.assets import Fingerprint
from orchestrator.preflight import cache as cache_module
from orchestrator.preflight.cache import Cache


@pytest.fixture
def old(tmp_path: Path) -> os.stat_result:
    """The status of a file that was written long ago."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    os.utime(path, (1, 1))
    return path.stat()


def test_what_is_put_is_there_for_the_next_program(tmp_path: Path, old: os.stat_result) -> None:
    """In a file that only its user may read."""
    path = tmp_path / "new folder" / "cache.db"
    Cache(path).put("film", old, {"seconds": 3.5})

    assert Cache(path).get("film", old) == {"seconds": 3.5}
    assert Cache(path).get("sound", old) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("inode", "is_known"), [(None, True), (0, True), (7, False)])
def test_a_file_that_is_away_is_found_by_what_is_known_of_it(
    tmp_path: Path, old: os.stat_result, inode: int | None, is_known: bool
) -> None:
    """Its inode may not be, where several hosts see the file."""
    cache = Cache(tmp_path / "cache.db")
    cache.put("film", old, {"seconds": 3.5})
    planned = Fingerprint.of(old) if inode is None else Fingerprint.of(old)._replace(inode=inode)

    assert (cache.find("film", planned) is not None) is is_known


def test_other_rules_look_again(tmp_path: Path, old: os.stat_result, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older version measured may not be what is judged now."""
    Cache(tmp_path / "cache.db").put("film", old, {})
    monkeypatch.setattr(cache_module, "RULES_VERSION", cache_module.RULES_VERSION + 1)

    assert Cache(tmp_path / "cache.db").get("film", old) is None


def test_a_file_that_was_just_written_is_not_kept(tmp_path: Path, old: os.stat_result) -> None:
    """It may change again within the same tick of its clock."""
    del old
    (tmp_path / "young.mp4").write_bytes(b"film")
    status = (tmp_path / "young.mp4").stat()
    cache = Cache(tmp_path / "cache.db")

    cache.put("film", status, {})

    assert cache.get("film", status) is None


def test_a_damaged_cache_is_replaced(tmp_path: Path, old: os.stat_result) -> None:
    """Nothing in it is worth an error."""
    path = tmp_path / "cache.db"
    path.write_bytes(b"this is no database at all" * 100)
    Cache(path).put("film", old, {"seconds": 1})

    assert Cache(path).get("film", old) == {"seconds": 1}


@pytest.mark.parametrize("trouble", ["folder is a file", "path is a folder", "locked", "value is no object"])
def test_no_trouble_of_the_cache_is_anyones_trouble(
    tmp_path: Path, old: os.stat_result, trouble: str
) -> None:
    """The file is looked at again, that is all."""
    path = tmp_path / "x" / "cache.db"
    if trouble == "folder is a file":
        path.parent.write_bytes(b"")
    elif trouble == "path is a folder":
        path.mkdir(parents=True)
    else:
        Cache(path).put("film", old, {"seconds": 1})
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("UPDATE known SET value = '[1]'" if trouble != "locked" else "BEGIN EXCLUSIVE")
    cache = Cache(path)

    cache.put("sound", old, {"seconds": 2})

    assert cache.get("sound", old) in (None, {"seconds": 2})
    if trouble == "value is no object":
        assert cache.get("film", old) is None
