"""Files that a host of a fleet cannot use: others try, and when none is left a person reads which host said what."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.api import session
from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import Event, EventBus, Point, StepReached
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document
from tests.cli.fleet_journal import postgres, state

__all__ = ["postgres", "state"]

pytestmark = pytest.mark.long

HOST = "studio-1"


@pytest.fixture(autouse=True)
def host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name for this host."""
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """The errors with which this host answers to who opens a file."""
    errors: dict[Path, int] = {}
    really_open = os.open

    def open_file(path: Any, *how: Any, **more: Any) -> int:
        number = errors.get(Path(os.fsdecode(path))) if isinstance(path, str | bytes) else None
        if number is not None:
            raise OSError(number, os.strerror(number))
        return really_open(path, *how, **more)

    monkeypatch.setattr(os, "open", open_file)
    return errors


def error_of(cli: Cli, entry: str) -> dict[str, Any]:
    """Why the entry failed."""
    return cli("status", "studio", "--entry", entry, "--json").document["error"]  # type: ignore[no-any-return]


def test_what_no_live_host_can_read_is_laid_aside_with_its_story(
    cli: Cli,
    batch: Batch,
    simulator: Simulator,
    refused: dict[Path, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is made for it, and the others are uploaded; the hint leads on once the files are back."""
    monkeypatch.setattr("orchestrator.fleet.unusable_files.SUSPICIOUS", 100)
    reasons = {
        "anna": "No such file or directory",
        "bo": "Permission denied",
        "cleo": "its size was",
        "dora": "Stale file handle",
    }
    batch.write(*(batch.entry(name) for name in (*reasons, "emil")))
    films = {name: batch.folder / f"{name}.mp4" for name in reasons}
    cli("enqueue", batch.manifest)
    films["anna"].rename(batch.folder / "away")
    film = films["cleo"].read_bytes()
    films["cleo"].write_bytes(b"another film")
    refused.update({films["bo"]: errno.EACCES, films["dora"]: errno.ESTALE})
    worked = cli("work", "--until-done", "--json")
    status = cli("fleet", "status", "--json").document
    results = cli("results", "studio").stdout
    detail = cli("status", "studio", "--entry", "anna", "--json").document
    errors = {name: error_of(cli, name) for name in reasons}
    for_people = cli("fleet", "status")

    assert (worked.document["done"], worked.document["failed"]) == (1, 4)
    assert simulator.stats.requests["create"] == 1
    check_document("fleet-status", status)
    check_document("status-entry", detail)
    assert [each["host"] for each in detail["handbacks"]] == [HOST]
    assert status["entries"]["parked"] == 4
    for name, reason in reasons.items():
        (told,) = (each for each in status["handed_back"] if each["entry"] == name)
        assert (told["host"], told["is_parked"], reason in told["reason"]) == (HOST, True, True)
        assert all(word in errors[name]["message"] for word in (HOST, told["at"], told["reason"]))
        assert errors[name]["kind"] == "parked"
        assert told["reason"] in results
        assert told["reason"] in for_people.stdout

    (batch.folder / "away").rename(films["anna"])
    films["cleo"].write_bytes(film)
    refused.clear()
    hints = [errors[name]["hint"] for name in reasons] + [for_people.stderr.splitlines()[-1]]
    for hint in hints:
        retried = cli(*shlex.split(hint.split("`")[-2])[1:])
        assert retried.exit_code == ExitCode.OK
    fresh = cli("fleet", "status", "--json").document["handed_back"]
    again = cli("work", "--until-done", "--json")

    assert fresh == []
    assert (again.document["done"], again.document["failed"]) == (4, 0)
    assert sorted(job.name for job in simulator.jobs) == sorted([*reasons, "emil"])


def test_an_entry_that_is_laid_aside_again_has_the_story_of_the_last_time(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """A person who retried it must not read what was wrong before."""
    batch.write(batch.entry("anna"))
    film = batch.folder / "anna.mp4"
    cli("enqueue", batch.manifest)
    film.rename(batch.folder / "away")
    cli("work", "--until-done")
    first = error_of(cli, "anna")
    (batch.folder / "away").rename(film)
    cli("retry", "studio", "--entry", "anna")
    film.write_bytes(b"another film")
    again = cli("work", "--until-done", "--json")
    second = error_of(cli, "anna")

    assert "No such file" in first["message"]
    assert again.document["failed"] == 1
    assert "its size was" in second["message"]
    assert simulator.stats.requests["create"] == 0


class At:
    """A subscriber that does something when the work on an entry comes to a point."""

    event_types = frozenset({StepReached})

    def __init__(self, point: str, do: Any) -> None:
        self._point = point
        self._do = do

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepReached) and event.point == self._point:
            self._do()


@pytest.mark.parametrize("point", [Point.CREATE.after, Point.WRITE_UPLOADED.after])
def test_an_entry_whose_files_go_away_in_the_middle_keeps_its_job(
    cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """It continues with it, and what was sent of it is not sent again."""
    batch.write(batch.entry("anna"))
    film, away = batch.folder / "anna.mp4", batch.folder / "away"
    cli("enqueue", batch.manifest)

    def unmount() -> None:
        if film.exists():
            film.rename(away)

    with monkeypatch.context() as patch:
        patch.setattr(session, "EventBus", lambda *heard: EventBus(*heard, At(point, unmount)))
        worked = cli("work", "--until-done", "--json")
    (before,) = simulator.jobs
    parked, sent = error_of(cli, "anna"), simulator.stats.put_bytes_received
    away.rename(film)
    cli(*shlex.split(parked["hint"].split("`")[-2])[1:])
    again = cli("work", "--until-done", "--json")
    (after,) = simulator.jobs

    assert (worked.document["failed"], parked["kind"]) == (1, "parked")
    assert again.document["done"] == 1
    assert after.job_id == before.job_id
    assert simulator.stats.requests["create"] == 1
    files = [path for path in batch.folder.iterdir() if path.suffix in {".mp4", ".png", ".pdf"}]
    total = sum(path.stat().st_size for path in files if path.name.startswith("anna"))
    assert sent <= total
    assert simulator.stats.put_bytes_received == total
    assert after.objects["training_video"].read_bytes() == film.read_bytes()


def test_workers_of_an_older_version_are_told_to_install_again(cli: Cli, batch: Batch, state: str) -> None:
    """The tables that came with this version are made by the command that made the others."""
    with psycopg.connect(state) as server:
        server.execute("DROP TABLE workers")
    refused = cli("enqueue", batch.manifest)
    (line,) = (line for line in refused.stderr.splitlines() if line.startswith("hint: "))
    installed = cli(*shlex.split(line.split("`")[1])[1:], "--json")

    assert refused.exit_code == ExitCode.CONFIGURATION
    assert installed.document["is_new"] is False
    assert cli("fleet", "status").exit_code == ExitCode.OK
