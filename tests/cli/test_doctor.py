"""`doctor` finds what would stop a run, names the fix, and changes nothing."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.cli.work.doctor import (
    CheckStatus,
    _clock,
    check_digest,
    check_folder,
    check_journal,
    check_open_files,
)
from orchestrator.domain.presigned import ServiceTime
from orchestrator.journal.records import DAMAGE_HINT
from orchestrator.settings.values import Settings
from orchestrator.simulator import Simulator
from orchestrator.transfer.hashing import HASHLIB
from tests.cli.conftest import SECRETS, Batch, Cli, Result
from tests.cli.documents import check_document
from tests.cli.test_run import DEAD_ENDPOINT


def checks_of(result: Result) -> dict[str, Mapping[str, str]]:
    """The checks of a document by name; the document is what its schema says."""
    check_document("doctor", result.document)
    assert result.document["exit_code"] == result.exit_code
    return {check["name"]: check for check in result.document["checks"]}


def statuses(result: Result, *but: str) -> set[str]:
    """How the checks ended, those named left out."""
    return {check["status"] for name, check in checks_of(result).items() if name not in but}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in *folder*."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_before_the_first_run_all_is_well_and_nothing_is_made(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """One list call and no other, no journal, no folder."""
    before = snapshot(tmp_path)

    result = cli("doctor", batch.manifest, "--json")

    assert (result.exit_code, statuses(result, "digest")) == (0, {"ok"})
    assert "2 entries" in checks_of(result)["footage"]["detail"]
    assert "does not exist yet" in checks_of(result)["journal"]["detail"]
    assert snapshot(tmp_path) == before
    assert not simulator.jobs


def test_beside_a_journal_its_bytes_stay_and_its_version_is_named(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """After a run, and while another process has it open, which leaves a write-ahead log."""
    assert cli("run", batch.manifest).exit_code == 0
    journal = next(home.rglob("journal.db"))
    before = snapshot(journal.parent)

    result = cli("doctor", "--json")

    assert result.exit_code == 0
    assert "is whole, schema" in checks_of(result)["journal"]["detail"]
    assert snapshot(journal.parent) == before
    other = sqlite3.connect(journal)
    other.execute("UPDATE batches SET last_exit_code = 0")
    assert "is whole" in checks_of(cli("doctor", "--json"))["journal"]["detail"]
    other.close()


def test_the_store_of_a_known_url_is_asked_without_its_secret(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """The host is named; no signature is shown or sent."""
    cli("run", batch.manifest)
    journal = next(home.rglob("journal.db"))
    secret = f"{simulator.endpoint}/bucket/part?Signature=topsecret&Expires=1"
    with sqlite3.connect(journal) as connection:
        connection.execute("UPDATE segments SET url = ?", [secret])

    result = cli("doctor", "--json")

    assert checks_of(result)["store"]["status"] == "ok"
    assert simulator.endpoint.removeprefix("http://") in checks_of(result)["store"]["detail"]
    assert "topsecret" not in result.stdout + result.stderr


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [(b"not a database at all, only text" * 99, "not a readable journal"), (None, "schema 999")],
)
def test_a_journal_that_cannot_be_used_is_a_failure(
    cli: Cli, batch: Batch, home: Path, damage: bytes | None, sentence: str
) -> None:
    """Garbage, or one of a newer version."""
    cli("run", batch.manifest)
    journal = next(home.rglob("journal.db"))
    if damage:
        journal.write_bytes(damage)
    else:
        with sqlite3.connect(journal) as connection:
            connection.execute("INSERT INTO schema_migrations VALUES (999, 'of tomorrow', 0)")

    result = cli("doctor", "--json")

    assert result.exit_code == 4
    assert sentence in checks_of(result)["journal"]["detail"]
    assert checks_of(result)["journal"]["fix"]


def test_a_page_that_was_overwritten_is_found(tmp_path: Path) -> None:
    """SQLite opens such a file; only the integrity check sees it."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE schema_migrations (version INTEGER)")
        connection.execute("CREATE TABLE many (word TEXT)")
        connection.executemany("INSERT INTO many VALUES (?)", [("word " * 50,)] * 500)
    connection.close()
    assert check_journal(str(path))[0].status is CheckStatus.OK
    with path.open("r+b") as file:
        file.seek(4096 * 5 + 1024)
        file.write(b"\xff" * 2048)

    check, _ = check_journal(str(path))

    assert check.status is CheckStatus.FAIL
    assert check.fix == DAMAGE_HINT


def test_another_programs_database_is_not_called_a_journal(
    cli: Cli, simulator: Simulator, tmp_path: Path
) -> None:
    """Named, and left as it was."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()

    result = cli("doctor", "--state", path, "--json")

    assert result.exit_code == 4
    assert "another program" in checks_of(result)["journal"]["detail"]


def test_an_unreachable_service_is_temporary(cli: Cli, simulator: Simulator) -> None:
    """Exit 5, and everything else is checked all the same."""
    result = cli("doctor", "--endpoint", DEAD_ENDPOINT, "--json")

    assert result.exit_code == 5
    assert checks_of(result)["service"]["status"] == "fail"
    assert checks_of(result)["clock"]["status"] == "warning"
    assert checks_of(result)["journal"]["status"] == "ok"


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("HUAWEICLOUD_SDK_AK", None, "credentials"),
        ("HUAWEICLOUD_SDK_SK", "of-someone-else", "service"),
        ("HUAWEICLOUD_SDK_PROJECT_ID", None, "project"),
        ("ORCHESTRATOR_ENDPOINT", None, "endpoint"),
        ("ORCHESTRATOR_ENDPOINT", "http://example.com", "endpoint"),
        ("ORCHESTRATOR_REGION", "cn-nowhere-9", "endpoint"),
        ("ORCHESTRATOR_JOBS", "many", "settings"),
        ("ORCHESTRATOR_STATE", "mysql://u:secretword@h/db", "journal"),
        ("HTTPS_PROXY", "http://[broken", "proxy"),
    ],
)
def test_what_is_configured_wrongly_is_a_failure_with_a_fix(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str | None,
    name: str,
) -> None:
    """Exit 4, the check of that name, no secret in what is printed."""
    if name == "proxy":
        monkeypatch.setenv("ORCHESTRATOR_ENDPOINT", "https://metastudio.invalid")
    if variable == "ORCHESTRATOR_REGION":
        monkeypatch.delenv("ORCHESTRATOR_ENDPOINT")
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)

    result = cli("doctor", "--json")

    assert result.exit_code == 4
    assert checks_of(result)[name]["status"] == "fail"
    assert checks_of(result)[name]["fix"]
    assert not any(secret in result.stdout + result.stderr for secret in (*SECRETS, "secretword"))


def test_without_credentials_the_service_is_still_reached(
    cli: Cli, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the network and the clock are known before the keys arrive."""
    monkeypatch.delenv("HUAWEICLOUD_SDK_AK")
    monkeypatch.delenv("HUAWEICLOUD_SDK_SK")

    checks = checks_of(cli("doctor", "--json"))

    assert checks["service"]["status"] == checks["clock"]["status"] == "ok"


def test_missing_footage_is_named_with_the_next_command(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """`validate` shows the rest."""
    (batch.folder / "bo.mp4").unlink()

    result = cli("doctor", batch.manifest)

    assert result.exit_code == 4
    assert "bo" in result.stdout
    assert f"orchestrator validate {batch.manifest}" in result.stdout


def test_what_the_fixes_name_leads_on(
    cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each flag and command of a fix is taken, and after all of them nothing fails."""
    (tmp_path / "other.db").write_text("no journal" * 100)
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path / "other.db"))
    for variable in ("ORCHESTRATOR_ENDPOINT", "HUAWEICLOUD_SDK_PROJECT_ID"):
        monkeypatch.delenv(variable)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (60, 60))
    (batch.folder / "bo.mp4").rename(tmp_path / "bo.mp4")
    failing = cli("doctor", batch.manifest, "--json")
    fixes = {name: check["fix"] for name, check in checks_of(failing).items() if check["status"] == "fail"}

    assert fixes.keys() == {"project", "endpoint", "journal", "open files", "footage"}
    assert cli("config", "show").exit_code == 0
    assert cli(*fixes["footage"].split()[1:]).exit_code == 3
    (tmp_path / "bo.mp4").rename(batch.folder / "bo.mp4")
    service = ("--endpoint", simulator.endpoint, "--project-id", simulator.options.project_id)
    flags = (*service, "--state", tmp_path / "new.db", "-j", "1", "-p", "1")
    assert cli("doctor", batch.manifest, *flags).exit_code == 0


def test_quiet_prints_failures_only(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """On stderr, for cron."""
    assert cli("doctor", "-q").stderr == ""
    (batch.folder / "bo.mp4").unlink()

    result = cli("doctor", batch.manifest, "-q")

    assert result.stdout == ""
    assert "footage" in result.stderr


@pytest.mark.parametrize(
    ("behind", "status"),
    [(0, "ok"), (30, "ok"), (120, "warning"), (-120, "warning"), (3600, "fail"), (-3600, "fail")],
)
def test_the_clock_is_judged_by_what_the_gateway_accepts(behind: int, status: str) -> None:
    """Up to a minute is the way of the answer; from a quarter of an hour on signatures are refused."""
    time = ServiceTime(lambda: 1_800_000_000.0 - behind)
    time.note("Fri, 15 Jan 2027 08:00:00 GMT")

    check = _clock(time)

    assert check.status == status
    assert (check.fix is None) == (status == "ok")


def test_a_limit_of_open_files_below_what_the_settings_need_fails() -> None:
    """And the fix is a limit that is enough."""
    settings = Settings(parallel=64, jobs=10)

    assert check_open_files(settings, 1024).status is CheckStatus.OK
    assert check_open_files(settings, resource.RLIM_INFINITY).status is CheckStatus.OK
    check = check_open_files(settings, 128)
    assert (check.status, check.is_temporary) == (CheckStatus.FAIL, False)
    assert "ulimit -n 1024" in (check.fix or "")


Room = namedtuple("Room", "f_bavail f_frsize f_favail f_files")


@pytest.mark.parametrize(
    ("room", "status"),
    [
        (Room(10**6, 4096, 10**6, 10**7), "ok"),
        (Room(10**6, 4096, 0, 0), "ok"),
        (Room(10_000, 4096, 10**6, 10**7), "warning"),
        (Room(10**6, 4096, 500, 10**7), "warning"),
        (Room(10, 4096, 10**6, 10**7), "fail"),
        (Room(10**6, 4096, 0, 10**7), "fail"),
    ],
)
def test_room_is_bytes_and_inodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Room, status: str
) -> None:
    """Either may run out; a full disk is temporary; a file system without inodes has enough of them."""
    monkeypatch.setattr(os, "statvfs", lambda _: room)

    check = check_folder("state", tmp_path / "not" / "made" / "yet")

    assert check.status == status
    assert check.is_temporary == (status == "fail")


def test_hashlib_alone_is_a_warning() -> None:
    """Right, but slow."""
    assert check_digest(HASHLIB).status is CheckStatus.WARNING
