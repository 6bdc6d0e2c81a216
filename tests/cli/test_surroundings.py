"""What the machine around the program may lack, and what names may lead to."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli

START = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, and a user that the system does not know."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("simulator", "homeless")
def test_a_user_without_a_home_runs_a_batch_with_a_state_of_its_own(
    cli: Cli, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container with a made-up user; without --state a sentence says what is missing."""
    monkeypatch.chdir(tmp_path)

    without = cli("run", batch.manifest)
    run = cli("run", batch.manifest, "--state", tmp_path / "journal.db")

    assert without.exit_code == 4
    assert "there is no home directory to keep the journal in" in without.stderr
    assert run.exit_code == 0
    assert cli("config", "show").exit_code == 0
    assert not (tmp_path / "~").exists()


@pytest.mark.usefixtures("simulator")
def test_a_key_log_that_cannot_be_written_is_ignored_with_a_warning(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_program: START
) -> None:
    """TLS contexts would raise, the first one as soon as a library is imported."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "nowhere" / "keys"))

    process = start_program("run", batch.manifest, "--progress", "none")
    _, told = process.communicate(timeout=30)

    assert process.returncode == 0
    assert told.startswith("warning: SSLKEYLOGFILE is ignored: ")


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "xx_XX.UTF-8"}])
def test_a_film_is_read_whatever_the_locale(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, start_program: START, locale: dict[str, str]
) -> None:
    """The library that reads films cannot open every name."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    batch.write(batch.entry("张三"))

    process = start_program("validate", batch.manifest)
    told, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (0, ""), told


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("command", [("status",), ("run",), ("plan",), ("results", "studio"), ("clean",)])
def test_the_url_of_a_database_is_never_a_folder(cli: Cli, batch: Batch, command: tuple[str, ...]) -> None:
    """In the file beside the manifest, where its server is away, as on the command line, where it is refused."""
    url = "postgresql://studio:hunter2@127.0.0.1:1/journal"
    config = batch.folder / "orchestrator.toml"
    config.write_text(f'state = "{url}"\n')
    arguments = [*command, *([batch.manifest] if command[0] in {"run", "plan"} else [])]
    arguments += ["--older-than", "30d", "--yes"] if command[0] == "clean" else []
    before = sorted(batch.folder.iterdir())

    away, refused = cli(*arguments, "--config", config), cli(*arguments, "--state", url)
    # A run would take over what a fleet's workers have, wherever the server is.
    expected = (2, "journal is a fleet's") if command == ("run",) else (5, "cannot be reached")
    assert (away.exit_code, refused.exit_code) == (expected[0], 2)
    assert expected[1] in away.stderr
    assert "holds a password" in refused.stderr
    assert "hunter2" not in away.stdout + away.stderr + refused.stdout + refused.stderr
    shown = cli("config", "show", "--config", config)

    assert shown.exit_code == 0
    assert "hunter2" not in shown.stdout
    assert sorted(batch.folder.iterdir()) == before


def test_a_config_file_that_nobody_may_see_is_none(cli: Cli, batch: Batch) -> None:
    """A name too long to be looked for is not an unexpected error."""
    result = cli("validate", batch.folder / ("x" * 300) / "studio.yaml")

    assert result.exit_code == 3


@pytest.mark.parametrize("command", ["run", "validate", "plan"])
def test_a_folder_that_was_deleted_is_a_sentence(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A script's folder may be gone before its next command; exit 4 or 3, and no unexpected error."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    result = cli(command, "studio.yaml")

    monkeypatch.undo()
    assert result.exit_code in {3, 4}
    assert "No such file" in result.stderr + result.stdout
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("proxy", ["http://[bad", "http://studio:hunter2@proxy:port", "http://"])
def test_a_proxy_that_is_no_url_is_a_sentence(
    cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Exit 4 before any entry is tried, and no word of its password."""
    monkeypatch.setenv("https_proxy", proxy)

    result = cli("run", batch.manifest, "--log-file", batch.folder / "log")

    assert result.exit_code == 4
    assert "https_proxy is not a URL" in result.stderr
    assert "hunter2" not in result.stderr
    assert not simulator.jobs


def test_a_pipe_as_credentials_file_is_not_waited_for(
    cli: Cli, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence, exit 4."""
    os.mkfifo(tmp_path / "credentials")
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    result = cli("run", batch.manifest, "--endpoint", "http://127.0.0.1:1")

    assert result.exit_code == 4
    assert "cannot be read: it is not a regular file" in result.stderr


@pytest.fixture
def finished(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """A batch that is done."""
    assert cli("run", batch.manifest).exit_code == 0


@pytest.mark.usefixtures("finished")
def test_a_pipe_is_written_through(cli: Cli, tmp_path: Path) -> None:
    """As any device is, and stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()

    while (result := cli("results", "studio", "-o", pipe)).exit_code:
        assert "No such device" in result.stderr  # the reader is not there yet
    reader.join()

    assert found[0].count(",confirmed,") == 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.usefixtures("finished")
def test_a_device_stays_a_device(cli: Cli, tmp_path: Path) -> None:
    """Root could put a file in the place of /dev/null."""
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")

    assert cli("results", "studio", "-o", device).exit_code == 0
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [file.name for file in tmp_path.glob(".null*")] == []


@pytest.mark.usefixtures("finished")
def test_a_pipe_without_a_reader_is_not_waited_for(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """Neither by `results` nor by `init`."""
    for name in ("pipe", "pipe.yaml"):
        os.mkfifo(tmp_path / name)

    for arguments in (
        ("results", "studio", "-o", tmp_path / "pipe"),
        ("init", tmp_path / "pipe.yaml", "--force"),
    ):
        result = cli(*arguments)
        assert result.exit_code == 4
        assert "cannot be written: " in result.stderr


@pytest.mark.usefixtures("finished")
def test_a_link_stays_a_link(cli: Cli, tmp_path: Path) -> None:
    """The file it leads to is replaced."""
    link, target = tmp_path / "latest.csv", tmp_path / "old.csv"
    target.write_text("old")
    link.symlink_to(target)

    assert cli("results", "studio", "-o", link).exit_code == 0
    assert link.is_symlink()
    assert target.read_text().count(",confirmed,") == 2


@pytest.mark.usefixtures("finished")
def test_the_name_of_stdout_is_stdout(start_program: START) -> None:
    """For scripts that must name a file."""
    process = start_program("results", "studio", "-o", "/dev/stdout")
    told, errors = process.communicate(timeout=30)

    assert process.returncode == 0, errors
    assert told.count(",confirmed,") == 2


@pytest.mark.usefixtures("simulator")
def test_every_command_tells_a_damaged_journal_in_a_sentence(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """Exit 4, as for a journal that cannot be opened."""
    state = tmp_path / "journal.db"
    cli("run", batch.manifest, "--state", state)
    with closing(sqlite3.connect(state, isolation_level=None)) as connection:
        connection.execute("UPDATE entries SET state = 'nonsense'")

    for command in (
        ("run", batch.manifest),
        ("plan", batch.manifest),
        *((name, "studio") for name in ("status", "results", "watch", "submit", "retry")),
        ("cancel", "studio", "--yes"),
        ("clean", "--older-than", "0s", "--yes"),
    ):
        result = cli(*command, "--state", state)
        assert (command, result.exit_code) == (command, 4)
        assert "the journal is damaged" in result.stderr


def test_a_second_run_through_a_link_is_refused(
    batch: Batch, simulator: Simulator, tmp_path: Path, start_program: START, cli: Cli
) -> None:
    """Exit 6, by a symbolic link and by a hard one."""
    state = tmp_path / "journal.db"
    simulator.faults.script("put", ["stall"])
    first = start_program("run", batch.manifest, "--state", state, "--idle-timeout", "60")
    assert first.stderr is not None
    while "uploading" not in first.stderr.readline():
        assert first.poll() is None
    (tmp_path / "soft.db").symlink_to(state)
    (tmp_path / "hard.db").hardlink_to(state)

    codes = [
        cli("run", batch.manifest, "--state", tmp_path / name).exit_code for name in ("soft.db", "hard.db")
    ]

    assert codes == [6, 6]
    assert len(simulator.jobs) <= 2
