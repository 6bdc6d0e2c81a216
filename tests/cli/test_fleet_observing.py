"""What a fleet tells of itself: events, metrics, notifications and heartbeats of workers, as those of a run."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.simulator import Simulator, SimulatorOptions
from orchestrator.simulator.options import parse_world
from tests.cli.conftest import SECRETS, Batch, Cli
from tests.cli.documents import check_document
from tests.cli.fleet_journal import postgres, state
from tests.journal.severed_link import SeveredLink
from tests.notifications.conftest import room
from tests.notifications.room import TOKEN, Room

__all__ = ["postgres", "room", "state"]

pytestmark = [
    pytest.mark.long,
    #: apprise asks Python for a module that a later one has no more.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

PATIENCE = 30.0
FAILS = SimulatorOptions(min_part_bytes=300_000)

StartProgram = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def other(tmp_path: Path) -> Batch:
    """A second batch, whose entries are called as those of the first."""
    folder = tmp_path / "other"
    folder.mkdir()
    return Batch(folder)


def with_a_failure(batch: Batch) -> None:
    """Anna's parts are too small for the service, Bo is well."""
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))


def until(is_so: Callable[[], object]) -> None:
    """Wait until *is_so*."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.usefixtures("simulator")
def test_each_line_of_a_worker_names_its_batch_and_the_worker(
    cli: Cli, batch: Batch, other: Batch, tmp_path: Path
) -> None:
    """In the events and in the log, though both batches have an entry of that name; and when each is over."""
    events, log = tmp_path / "events", tmp_path / "log"
    for each, name in ((batch, "studio"), (other, "evening")):
        each.write(each.entry("anna"))
        cli("enqueue", each.manifest, "--batch-name", name)

    worked = cli("work", "--until-done", "--events", events, "--log-file", log)

    assert worked.exit_code == ExitCode.OK
    written = lines_of(events)
    for line in written:
        check_document("events", line)
    (worker,) = {line["worker"] for line in written}
    assert worker.startswith("process ")
    assert {line["batch"] for line in written if "entry" in line} == {"studio", "evening"}
    for name in ("studio", "evening"):
        of_batch = [line for line in written if line["batch"] == name]
        queued, finished = of_batch[0], of_batch[-1]
        assert (queued["type"], finished["type"]) == ("batch.queued", "batch.finished")
        assert (finished["exit_code"], finished["entries"]["done"]) == (0, 1)
    assert [line["type"] for line in written if not line["batch"]] == ["batch.drained"]
    logged = lines_of(log)
    assert {line["worker"] for line in logged} == {worker}
    assert {line["batch"] for line in logged if "entry" in line} == {"studio", "evening"}


@pytest.mark.parametrize("simulator_options", [FAILS])
@pytest.mark.usefixtures("simulator")
def test_the_metrics_of_a_worker_tell_its_batches_apart(
    cli: Cli, batch: Batch, other: Batch, tmp_path: Path
) -> None:
    """What is about the worker alone has no batch; how a batch stands is known at its end."""
    path = tmp_path / "worker.prom"
    with_a_failure(batch)
    other.write(other.entry("anna"))
    for each, name in ((batch, "studio"), (other, "evening")):
        cli("enqueue", each.manifest, "--batch-name", name)

    cli("work", "--until-done", "--metrics-file", path)

    text = path.read_text(encoding="utf-8")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    def value(name: str, **labels: str) -> float:
        inner = ",".join(f'{key}="{each}"' for key, each in labels.items())
        return float(values[f"metastudio_{name}{{{inner}}}"])

    assert value("run_exit_code", batch="") == 0
    assert value("run_ended_timestamp_seconds", batch="") > 0
    for name, done, failed in (("studio", 1, 1), ("evening", 1, 0)):
        assert value("batch_entries", batch=name, outcome="done") == done
        assert value("batch_entries", batch=name, outcome="failed") == failed
        assert value("entries_active", batch=name) == 0
        assert value("sent_bytes_total", batch=name) > 0
    assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("simulator_options", [FAILS])
@pytest.mark.usefixtures("simulator")
def test_people_hear_of_a_batch_once_however_many_workers_it_has(
    cli: Cli, batch: Batch, room: Room, start_program: StartProgram, tmp_path: Path
) -> None:
    """And the command at its end is run once, with the document of a run."""
    documents = tmp_path / "documents"
    flags = ("--notify", room.address, "--on-finish", f"cat >> {documents}; echo seen")
    with_a_failure(batch)
    cli("enqueue", batch.manifest, *flags)

    workers = [start_program("work", "--until-done", *flags) for _ in range(3)]
    told = [worker.communicate(timeout=PATIENCE)[1] for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0, 0], told
    assert room.titles == {"studio: an entry failed": 1, "studio: run finished": 1}
    # Another worker than that of the failure may have sent it, and sooner.
    (end,) = [post["message"] for post in room.posts if post["title"] == "studio: run finished"]
    assert "1 of 2 entries done, 1 failed" in end
    assert "exit code 8" in end
    (line,) = documents.read_text(encoding="utf-8").splitlines()
    document = json.loads(line)
    check_document("run", document)
    assert (document["batch"], document["exit_code"]) == ("studio", 8)
    assert document["segments"]["sent"] == document["segments"]["stored"] > 0
    assert [each["state"] for each in document["results"]] == ["failed", "confirmed"]
    (run,) = cli("status", "studio", "--runs", "--json").document["runs"]
    assert (run["exit_code"], run["entries"]["failed"]) == (8, 1)
    assert TOKEN not in "".join(told)


@pytest.mark.usefixtures("simulator")
def test_a_batch_that_is_queued_again_has_an_end_again(cli: Cli, batch: Batch, room: Room) -> None:
    """But none where nothing was left to do."""
    batch.write(batch.entry("anna"))
    for _ in range(2):
        cli("enqueue", batch.manifest)
        cli("work", "--until-done", "--notify", room.address)
    assert room.titles == {"studio: run finished": 1}
    batch.write(batch.entry("anna"), batch.entry("bo"))
    cli("enqueue", batch.manifest)
    cli("work", "--until-done", "--notify", room.address)

    assert room.titles == {"studio: run finished": 2}
    assert "2 of 2 entries done" in room.posts[-1]["message"]


@pytest.mark.usefixtures("simulator")
def test_the_end_that_no_worker_lived_to_tell_is_told_by_the_next(
    cli: Cli, batch: Batch, room: Room, start_program: StartProgram, state: str
) -> None:
    """Which finds nothing to do; the killed one had seen the batch and its end, and rested."""
    events = batch.folder / "events"
    batch.write(batch.entry("anna"))
    cli("enqueue", batch.manifest)
    killed = start_program("work", "--notify", room.address, "--events", events)

    def is_promised() -> bool:
        with psycopg.connect(state) as server:
            return bool(server.execute("SELECT 1 FROM notices WHERE state = 'promised'").fetchall())

    until(is_promised)
    until(lambda: any(line["type"] == "batch.finished" for line in lines_of(events)))
    killed.kill()
    assert killed.wait(PATIENCE) == -signal.SIGKILL
    assert room.titles == {}
    for _ in range(2):
        cli("work", "--until-done", "--notify", room.address)

    assert room.titles == {"studio: run finished": 1}


@pytest.mark.usefixtures("simulator")
def test_who_waits_for_a_batch_tells_its_end_and_beats_with_its_exit_code(
    cli: Cli, batch: Batch, room: Room, start_program: StartProgram, tmp_path: Path
) -> None:
    """From cron, where the workers notify nobody."""
    url = f"http://127.0.0.1:{room.server.server_port}/{TOKEN}/{{event}}"
    seen = tmp_path / "seen"
    start_program("work")

    waited = cli(
        *("enqueue", batch.manifest, "--wait", "--heartbeat", url, "--notify", room.address),
        *("--on-finish", f"cat > {seen}"),
    )

    assert waited.exit_code == ExitCode.OK
    assert room.gets == [f"/{TOKEN}/start", f"/{TOKEN}/0"]
    assert room.titles == {"studio: run finished": 1}
    check_document("run", json.loads(seen.read_text(encoding="utf-8")))


@pytest.mark.usefixtures("simulator")
def test_a_worker_says_that_it_waits_for_the_journals_server(
    start_program: StartProgram, state: str, tmp_path: Path
) -> None:
    """Once for each absence, and that it is over: else nothing shows why nothing moves."""
    events = tmp_path / "events"

    def warnings() -> list[str]:
        lines = lines_of(events) if events.exists() else []
        return [line["message"] for line in lines if line["type"] == "service.warning_raised"]

    with SeveredLink(state) as link:
        worker = start_program("work", "--events", events, "--state", link.url())
        assert worker.stderr is not None
        assert "ready" in worker.stderr.readline()
        with link.down():
            until(warnings)
        until(lambda: len(warnings()) == 2)
        worker.send_signal(signal.SIGTERM)
        told = worker.communicate(timeout=PATIENCE)[1]

    absence, back = warnings()
    assert absence.startswith("the journal's server")
    assert "nothing new is begun until it is back" in absence
    assert back.startswith("the journal's server is back after ")
    assert told.count("warning: ") == 2


@pytest.mark.usefixtures("simulator")
def test_a_heartbeat_begins_and_ends_with_the_worker(cli: Cli, room: Room) -> None:
    """With its exit code."""
    url = f"http://127.0.0.1:{room.server.server_port}/{TOKEN}/{{event}}"

    cli("work", "--until-done", "--heartbeat", url)

    assert room.gets == [f"/{TOKEN}/start", f"/{TOKEN}/0"]


def test_what_only_a_person_can_decide_is_told_when_it_is_queued(
    cli: Cli, batch: Batch, simulator: Simulator, room: Room
) -> None:
    """No worker ever meets it; once, until there is another question."""
    cli("enqueue", batch.manifest)
    cli("work", "--until-done")
    batch.write(batch.entry("anna", tags=["evening"]), batch.entry("bo"))

    codes = [cli("enqueue", batch.manifest, "--notify", room.address).exit_code for _ in range(2)]

    assert codes == [ExitCode.DECISION_NEEDED] * 2
    (warning,) = cli("status", "studio", "--json").document["warnings"]
    assert warning.startswith("anna needs a decision: ")
    assert room.titles == {"studio: an entry needs a decision": 1}
    assert len(simulator.jobs) == 2


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(world=parse_world("confirm-letter=refused"))])
@pytest.mark.usefixtures("simulator")
def test_what_workers_warn_of_is_in_the_report(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """As what a run warns of: their own output is on other machines."""
    batch.write(batch.entry("anna"))
    page = tmp_path / "report.html"
    cli("enqueue", batch.manifest, "--submit")
    worked = cli("work", "--until-done")
    cli("report", "studio", "-o", page)

    warnings = [line.partition("warning: ")[2] for line in worked.stderr.splitlines() if "warning: " in line]
    assert warnings
    text = page.read_text(encoding="utf-8")
    assert all(warning[:60] in text for warning in warnings)
