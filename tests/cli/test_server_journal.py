"""The program with its journal in PostgreSQL, wherever the location is set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.simulator import SimulatorOptions
from tests.cli.conftest import Batch, Cli
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]

PASSWORD = "hunter2"


@pytest.fixture
def state(postgres: str) -> Iterator[str]:
    """An empty schema of the server."""
    with schema_of(postgres) as url:
        yield url


@pytest.mark.usefixtures("simulator")
def test_a_batch_is_uploaded_and_told_of_from_a_server(
    cli: Cli, batch: Batch, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that reads or writes a journal finds it by the environment; `run` leaves it to workers."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", state)
    batch.write(batch.entry("anna", size=300_000), batch.entry("bela", size=300_000))

    assert cli("plan", batch.manifest).exit_code == ExitCode.OK
    assert cli("status").stderr + cli("status").stdout != ""
    refused = cli("run", batch.manifest)
    cli("fleet", "install")
    queued = cli("enqueue", batch.manifest, "--json")
    worked = cli("work", "--until-done", "--json")

    assert (refused.exit_code, queued.exit_code, worked.exit_code) == (
        ExitCode.USAGE,
        ExitCode.OK,
        ExitCode.OK,
    )
    assert f"`orchestrator enqueue {batch.manifest}`" in refused.stderr
    assert (worked.document["done"], worked.document["failed"]) == (2, 0)
    name = queued.document["batch"]
    assert cli("status", "--json").document["batches"][0]["entries"]["confirmed"] == 2
    assert {row["state"] for row in cli("results", name, "--json").document["results"]} == {"confirmed"}
    assert len(cli("status", name, "--runs", "--json").document["runs"]) == 1
    with psycopg.connect(state) as server:
        server.execute("UPDATE transitions SET holder = 'process 7 on studio-2' WHERE to_state = 'confirmed'")
    assert "process 7 on studio-2" in cli("status", name, "--entry", "anna").stdout
    assert cli("cancel", name, "--yes").exit_code == ExitCode.OK
    with psycopg.connect(state) as server:
        assert server.execute("SELECT DISTINCT state FROM entries").fetchall() == [("cancelled",)]


def test_a_password_on_the_command_line_is_refused_and_leads_on_without_it(
    cli: Cli, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of processes shows it to everybody; the hint names where it belongs."""
    with_password = state.replace("postgres:@", f"postgres:{PASSWORD}@")
    refused = cli("status", "--state", with_password)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    leads_on = cli("status", "--state", state)

    assert refused.exit_code == ExitCode.USAGE
    assert "--state holds a password" in refused.stderr
    assert "PGPASSWORD" in refused.stderr
    assert PASSWORD not in refused.stdout + refused.stderr
    assert leads_on.exit_code == ExitCode.OK


@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_password_from_elsewhere_works_and_is_never_shown(
    cli: Cli, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Neither by `config show` nor by a command that has nothing to tell; and the URL is no folder."""
    monkeypatch.chdir(tmp_path)
    location = state.replace("postgres:@", f"postgres:{PASSWORD}@")
    if place == "environment":
        monkeypatch.setenv("ORCHESTRATOR_STATE", location)
    else:
        (tmp_path / "orchestrator.toml").write_text(f'state = "{location}"\n', encoding="utf-8")

    results = [cli("config", "show"), cli("config", "show", "--json"), cli("status"), cli("submit", "studio")]

    assert [result.exit_code for result in results] == [0, 0, 0, 2]
    said = "".join(result.stdout + result.stderr for result in results)
    assert "postgresql://postgres@/postgres" in said
    assert PASSWORD not in said
    assert not list(tmp_path.glob("postgresql*"))


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)], ids=[""])
def test_a_page_names_the_server_in_its_commands_but_no_password(
    cli: Cli, batch: Batch, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is passed on, and its commands are pasted; where there is a password they need the same settings."""
    batch.write(batch.entry("anna", size=300_000) | {"name": "review-fail"})
    page = tmp_path / "report.html"
    cli("fleet", "install", "--state", state)
    cli("enqueue", batch.manifest, "--submit", "--state", state)
    cli("work", "--until-done", "--state", state)
    cli("watch", "studio", "--interval", "0.01", "--state", state)

    named = cli("report", "studio", "-o", page, "--state", state, "--no-pictures")
    with_place = page.read_text(encoding="utf-8")
    monkeypatch.setenv("ORCHESTRATOR_STATE", state.replace("postgres:@", f"postgres:{PASSWORD}@"))
    unnamed = cli("report", "studio", "-o", page, "--no-pictures")
    without_place = page.read_text(encoding="utf-8")

    assert (named.exit_code, unnamed.exit_code) == (0, 0)
    assert "--state 'postgresql://" in with_place.replace("&#39;", "'").replace("&#x27;", "'")
    assert "review failed" in without_place
    assert PASSWORD not in without_place
    assert "postgresql:" not in without_place


def test_doctor_looks_at_a_journal_on_a_server(cli: Cli, state: str) -> None:
    """Without making one."""
    before = cli("doctor", "--state", state, "--json")
    with psycopg.connect(state) as server:
        tables = server.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
        ).fetchall()

    journal = next(check for check in before.document["checks"] if check["name"] == "journal")
    assert "does not exist yet" in journal["detail"]
    assert tables == [(0,)]
