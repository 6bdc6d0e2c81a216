"""`report`: the page of real batches, as a file and live, and what its commands do."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.work.batches import KnownBatch
from orchestrator.cli.work.report import options_of
from orchestrator.journal.records import BatchRecord
from orchestrator.report.document import Commands
from orchestrator.settings.sources import load_settings
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, Cli
from tests.report.test_page import read


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """Reviews are quick."""
    return SimulatorOptions(speed=1e9)


def data_in(page: str) -> dict[str, Any]:
    return json.loads(read(page).data["data"])  # type: ignore[no-any-return]


@pytest.mark.usefixtures("simulator")
def test_the_page_shows_what_needs_a_person_and_its_commands_lead_on(
    cli: Cli, batch: Batch, tmp_path: Path
) -> None:
    """Pasted as they stand, in a shell that knows nothing of the journal's place."""
    batch.write(batch.entry("anna") | {"name": "review-fail"}, batch.entry("bo"))
    state, page = tmp_path / "a journal.db", tmp_path / "report.html"
    cli("run", batch.manifest, "--submit", "--state", state)
    cli("watch", "studio", "--interval", "0.01", "--state", state)

    result = cli("report", "studio", "-o", page, "--state", state, "--no-pictures")

    assert result.exit_code == 0
    assert page.stat().st_mode & 0o777 == 0o600
    data = data_in(page.read_text(encoding="utf-8"))
    (waiting,) = data["attention"]
    assert (waiting["entry_id"], waiting["kind"]) == ("anna", "review failed")
    assert data["summary"]["reviews"]["first_pass_rate"] == 0.5
    avatars = data["summary"]["avatars"]
    assert (avatars["avatars"], avatars["slowest_entry"]) == (1, "bo")
    assert avatars["median_seconds"] == avatars["slowest_seconds"] > 0
    program, *words = shlex.split(waiting["command"])
    assert program == "orchestrator"
    assert cli(*words).exit_code == 0
    cli("watch", "studio", "--interval", "0.01", "--state", state)
    cli("report", "studio", "-o", page, "--state", state, "--no-pictures")
    assert data_in(page.read_text(encoding="utf-8"))["attention"] == []


@pytest.mark.usefixtures("simulator")
def test_every_command_of_a_page_works_as_it_is_pasted(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """Whichever of them the state of an entry calls for, also where the manifest is not known."""
    state = tmp_path / "a journal.db"
    cli("run", batch.manifest, "--state", state)
    options = f" --state {shlex.quote(str(state))}"
    commands = Commands("studio", str(batch.manifest), options)
    pasted = [
        commands.retry("anna"),
        commands.show("anna"),
        commands.plan(),
        Commands("studio", None, options).plan(),
    ]

    results = [cli(*shlex.split(command)[1:]) for command in pasted]

    assert [(result.exit_code, result.stderr) for result in results if result.exit_code] == []
    assert {shlex.split(command)[0] for command in pasted} == {"orchestrator"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("postgresql://me@host/db", " --state postgresql://me@host/db"),
        ("postgresql://host/db?sslmode=require", " --state 'postgresql://host/db?sslmode=require'"),
        ("/a b/journal.db", " --state '/a b/journal.db'"),
    ],
)
def test_commands_name_the_journal_and_no_password(state: str, expected: str) -> None:
    """Whoever gets the page may not get into the database with it."""
    effective = load_settings(flags={"state": state}, config=None, beside=None)
    batch = BatchRecord("d1", "https://m", "p", "studio", None, False, 1.0, None, None, None)

    assert options_of(KnownBatch(record=batch, effective=effective)) == expected


def test_nothing_secret_is_in_the_page(cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path) -> None:
    """Nor the contact, which is a person's."""
    cli("run", batch.manifest)
    cli("report", "studio", "-o", tmp_path / "report.html", "--no-pictures")

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    hidden = (*SECRETS, simulator.options.ak, simulator.options.sk, "ops@example.com", "-front.png")
    assert not [secret for secret in hidden if secret in page]


@pytest.mark.usefixtures("simulator")
def test_a_run_that_was_killed_has_its_page(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """The journal has all that was written before."""
    page = tmp_path / "report.html"
    cli("run", batch.manifest)
    (path,) = tmp_path.rglob("journal.db")
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET ended_at = NULL, exit_code = NULL")
    connection.close()

    cli("report", "studio", "-o", page, "--no-pictures")

    data = data_in(page.read_text(encoding="utf-8"))
    (run,) = data["night"]["runs"]
    assert run["state"] == "killed"
    assert run["end"] > run["start"]
    assert {lane for lane, *_ in data["night"]["spans"]} == {0, 1}


@pytest.mark.usefixtures("simulator")
def test_without_a_place_for_the_page_there_is_none(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """And a file that cannot be written keeps what it held."""
    cli("run", batch.manifest)

    asked = cli("report", "studio")
    assert (asked.exit_code, "-o report.html, or --live" in asked.stderr) == (2, True)
    assert cli("report", "studio", "-o", tmp_path / "report.html", "--no-pictures").exit_code == 0
    assert cli("report", "nobody", "-o", tmp_path / "x.html").exit_code == 2
    refused = cli("report", "studio", "-o", tmp_path, "--no-pictures")
    assert refused.exit_code == 4
    assert "cannot be written" in refused.stderr


@pytest.mark.usefixtures("simulator")
def test_a_plain_install_makes_the_page_without_pictures_and_names_the_extra(
    cli: Cli, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decodes them is an extra."""
    cli("run", batch.manifest)
    monkeypatch.setattr("orchestrator.cli.work.report.is_installed", lambda _: False)

    result = cli("report", "studio", "-o", tmp_path / "report.html")

    assert result.exit_code == 0
    assert "metastudio-orchestrator[preflight]" in result.stderr
    assert json.loads(read((tmp_path / "report.html").read_text(encoding="utf-8")).data["pictures"]) == {}


@pytest.fixture
def start_live(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `report --live` as a process; it, and the URL it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "report", "studio", "--live", "--no-pictures", "--json"]
            + [str(argument) for argument in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())["url"]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def events_of(url: str) -> Iterator[dict[str, Any]]:
    """The changes that an open page is told of."""
    with urllib.request.urlopen(f"{url}stream", timeout=20) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


@pytest.mark.long
@pytest.mark.usefixtures("simulator")
def test_the_live_page_follows_a_run_and_its_reviews_and_is_kept_at_the_end(
    cli: Cli, batch: Batch, tmp_path: Path, start_live: Any
) -> None:
    """From another process, which asks the run for nothing."""
    cli("run", batch.manifest)
    process, url = start_live("--port", "0", "-o", tmp_path / "last.html")
    events = events_of(url)
    first = next(events)
    cli("submit", "studio")
    cli("watch", "studio", "--interval", "0.01")

    states: set[str] = set()
    for change in events:
        states |= {row[2] for row in change.get("rows", [])}
        if "trained" in states:
            break
    process.send_signal(signal.SIGINT)

    assert first["is_whole"]
    assert {row[2] for row in first["rows"]} == {"confirmed"}
    assert process.wait(20) == 0
    last = data_in((tmp_path / "last.html").read_text(encoding="utf-8"))
    assert last["stream"] is None
    assert {row[2] for row in last["rows"]} == {"trained"}


@pytest.mark.long
@pytest.mark.usefixtures("simulator")
def test_a_live_page_that_is_killed_is_found_again_at_its_place(
    cli: Cli, batch: Batch, tmp_path: Path, start_live: Any
) -> None:
    """A page that is open tries again, and its token, where there is one, is still good."""
    cli("run", batch.manifest)
    process, url = start_live("--port", "0", "--host", "0.0.0.0")
    port = url.split(":")[2].split("/")[0]
    process.kill()
    process.wait()

    _, again = start_live("--port", port, "--host", "0.0.0.0")

    assert again == url
    token = url.rstrip("/").rsplit("/", 1)[1]
    assert len(token) >= 24
    assert next(events_of(again.replace("0.0.0.0", "127.0.0.1")))["is_whole"]
    (kept,) = Path(os.environ["HOME"]).rglob("report.token")
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("simulator")
def test_a_port_that_is_taken_is_a_sentence(cli: Cli, batch: Batch, start_live: Any) -> None:
    """Another page may be served there."""
    cli("run", batch.manifest)
    _, url = start_live("--port", "0")

    result = cli("report", "studio", "--live", "--port", url.split(":")[2].strip("/"))

    assert result.exit_code == 4
    assert "cannot be served on 127.0.0.1" in result.stderr
    assert "choose another --port or --host" in result.stderr
    assert start_live("--port", "0", "--host", "localhost")[1] != url
    assert "Traceback" not in result.stderr
