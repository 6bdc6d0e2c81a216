"""Notifications, the command at the end and the heartbeat: each once, whatever happens, and never worth the run."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.run_report import document_of_run
from orchestrator.domain.entries import BatchKey
from orchestrator.engine import events
from orchestrator.engine.events import Totals
from orchestrator.journal.journal import open_journal
from orchestrator.journal.outbox import Notice, NoticeKind
from orchestrator.notifications.notices import Message, message_of
from orchestrator.notifications.notifier import RunNotifier
from orchestrator.notifications.sending import Target
from orchestrator.observe.streams import ReportingContext
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, Cli
from tests.notifications.room import TOKEN, Room

#: apprise asks Python for a module that a later one has no more.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

#: Runs a batch by the API and kills itself with the first event of a kind.
DRIVER = """
import asyncio, os, sys
import orchestrator

async def main(manifest, state, kind, *addresses):
    async with orchestrator.open_batch(manifest, state=state, jobs=1, notify=addresses) as batch:
        events = batch.events()
        running = asyncio.create_task(batch.run())
        async for event in events:
            if event.name == kind:
                os.kill(os.getpid(), 9)
        await running

asyncio.run(main(*sys.argv[1:]))
"""


STARTED = events.RunStarted(
    batch="studio",
    run_id="run-1",
    totals=Totals(entries=1, segments=1, bytes=1),
    done_entries=0,
    stored_segments=0,
    stored_bytes=0,
)
FAILS = SimulatorOptions(min_part_bytes=300_000)


def with_a_failure(batch: Batch) -> None:
    """Anna's parts are too small for the service, Bo is well."""
    batch.write(batch.entry("anna", video_multipart_count=2), batch.entry("bo"))


@pytest.mark.parametrize("simulator_options", [FAILS])
@pytest.mark.usefixtures("simulator")
def test_a_failure_is_told_once_until_its_reason_changes(cli: Cli, batch: Batch, room: Room) -> None:
    """The second run fails alike, and has only its own end to say."""
    with_a_failure(batch)

    codes = [cli("run", batch.manifest, "--notify", room.address).exit_code for _ in range(2)]

    assert codes == [8, 8]
    assert room.titles == {"studio: an entry failed": 1, "studio: run finished": 2}
    (failure,) = [post for post in room.posts if "failed" in post["title"]]
    assert failure["message"].startswith("anna: ")
    assert failure["type"] == "failure"
    assert "1 of 2 entries done, 1 failed" in room.posts[-1]["message"]
    assert not any(secret in json.dumps(room.posts) for secret in SECRETS)


@pytest.mark.usefixtures("simulator")
def test_a_run_without_work_says_nothing(cli: Cli, batch: Batch, room: Room) -> None:
    """As cron starts it every few minutes."""
    for _ in range(3):
        assert cli("run", batch.manifest, "--notify", room.address).exit_code == 0

    assert room.titles == {"studio: run finished": 1}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["run.started", "entry.failed", "segment.stored", "run.finished"])
@pytest.mark.parametrize("simulator_options", [FAILS])
@pytest.mark.usefixtures("simulator")
def test_each_is_received_once_though_the_run_is_killed(batch: Batch, room: Room, kind: str) -> None:
    """With any event, also after the last one; the next run sends what is owed."""
    with_a_failure(batch)
    arguments = [sys.executable, "-c", DRIVER, str(batch.manifest), str(batch.folder / "journal.db")]

    killed = subprocess.run([*arguments, kind, room.address], check=False)
    ended = subprocess.run([*arguments, "never", room.address], check=False)

    assert (killed.returncode, ended.returncode) == (-signal.SIGKILL, 0)
    assert room.titles == {"studio: an entry failed": 1, "studio: run finished": 1}


@pytest.mark.parametrize("title", ["studio: an entry failed", "studio: run finished"])
@pytest.mark.parametrize("simulator_options", [FAILS])
@pytest.mark.usefixtures("simulator")
def test_what_was_received_is_not_sent_again_by_the_next_run(
    batch: Batch, room: Room, start_program: Callable[..., subprocess.Popen[str]], title: str
) -> None:
    """The run is killed while the room has the message and the answer is not there yet."""
    with_a_failure(batch)
    arguments = ("run", batch.manifest, "--state", batch.folder / "journal.db", "--notify", room.address)
    running = start_program(*arguments)
    room.on_post = lambda post: running.kill() if post["title"] == title else None

    assert running.wait(30) == -signal.SIGKILL
    room.on_post = lambda _post: None
    assert start_program(*arguments).wait(30) == 8

    # The second run works on the entry that failed, so it has an end of its own.
    assert room.titles == {"studio: an entry failed": 1, "studio: run finished": 2}
    ends = [post["message"] for post in room.posts if post["title"] == "studio: run finished"]
    assert len(set(ends)) == 2


@pytest.mark.long
@pytest.mark.usefixtures("simulator")
def test_the_end_of_a_run_that_was_killed_after_its_last_entry_is_told_by_the_next(
    batch: Batch, room: Room
) -> None:
    """Which finds nothing to do."""
    arguments = [sys.executable, "-c", DRIVER, str(batch.manifest), str(batch.folder / "journal.db")]

    subprocess.run([*arguments, "run.finished", room.address], check=False)
    assert room.titles == {}
    for _ in range(2):
        subprocess.run([*arguments, "never", room.address], check=True)

    assert room.titles == {"studio: run finished": 1}


@pytest.mark.usefixtures("simulator")
def test_a_room_that_is_closed_is_one_warning_and_told_by_the_next_run(
    cli: Cli, batch: Batch, room: Room, tmp_path: Path
) -> None:
    """The exit code stays, and nothing shows the address."""
    room.status = 503
    log = tmp_path / "log"
    flags = ("--notify", room.address, "-v", "--log-file", log, "--events", tmp_path / "events")

    first = cli("run", batch.manifest, *flags)
    room.status, room.posts = 200, []
    second = cli("run", batch.manifest, "--notify", room.address)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stderr.count("warning: json://... was not notified") == 1
    assert room.titles == {"studio: run finished": 1}
    written = log.read_text(encoding="utf-8") + (tmp_path / "events").read_text(encoding="utf-8")
    assert TOKEN not in first.stdout + first.stderr + second.stderr + written


async def test_each_outage_is_told_when_it_begins_and_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With why the run waits, and how long it did."""
    monkeypatch.setattr("orchestrator.notifications.notifier.GATHER_SECONDS", 0)
    monkeypatch.setattr("orchestrator.notifications.notifier.REST_SECONDS", 0)
    sent: asyncio.Queue[Message] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def send(message: Message) -> bool:
        loop.call_soon_threadsafe(sent.put_nowait, message)
        return True

    target = Target("chat://...", "digest", send)
    began = events.OutageBegan(
        side="service",
        lasted_seconds=1,
        kind="unreachable",
        reason="connection refused",
        code=None,
        request_id=None,
        next_try_seconds=5,
        patience_seconds=900,
    )
    async with open_journal(str(tmp_path / "journal.db"), clock=time.time) as journal:
        key = BatchKey("https://service", "project", "studio")
        await journal.start_run(key, manifest_path=None, is_submit_wanted=False, run_id="run-1")
        reporting = ReportingContext(hidden=(), warn=pytest.fail, stdout=pytest.fail, command_output=2)
        async with RunNotifier(
            [target], None, journal, "run-1", has_worked=bool, document=document_of_run, reporting=reporting
        ) as notifier:
            notifier(STARTED)
            for _ in range(2):
                notifier(began)
                waiting = await asyncio.wait_for(sent.get(), 10)
                notifier(events.OutageEnded(side="service", lasted_seconds=42))
                continuing = await asyncio.wait_for(sent.get(), 10)
                assert waiting.title == "studio: waiting"
                assert "service unreachable (connection refused)" in waiting.body
                assert (continuing.title, continuing.body) == (
                    "studio: continuing",
                    "service answers again after 0:42",
                )
    assert sent.empty()


@pytest.mark.usefixtures("simulator")
def test_the_command_at_the_end_gets_the_document(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """The same as --json prints; what it prints itself goes to stderr, and a second run without work has none."""
    target = tmp_path / "documents"
    flags = ("--on-finish", f"cat >> {target}; echo seen", "--json")

    first = cli("run", batch.manifest, *flags)
    cli("run", batch.manifest, *flags)

    (line,) = target.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == first.document
    assert "seen" in first.stderr


@pytest.mark.usefixtures("simulator")
def test_a_command_that_fails_is_one_warning(cli: Cli, batch: Batch) -> None:
    """The run was a good one."""
    result = cli("run", batch.manifest, "--on-finish", "exit 3")

    assert result.exit_code == 0
    assert "warning: the command of --on-finish failed with exit code 3" in result.stderr


@pytest.mark.usefixtures("simulator")
def test_a_command_is_not_taken_from_a_folder_of_footage(cli: Cli, batch: Batch) -> None:
    """Which others wrote."""
    made = batch.folder / "made"
    (batch.folder / "orchestrator.toml").write_text(f'on_finish = "touch {made}"\n', encoding="utf-8")

    result = cli("run", batch.manifest)

    assert result.exit_code == 4
    assert "on_finish is not read from a file beside the manifest" in result.stderr
    # What the hint names works.
    (batch.folder / "orchestrator.toml").rename(batch.folder / "mine.toml")
    assert cli("run", batch.manifest, "--config", batch.folder / "mine.toml").exit_code == 0
    assert cli("run", batch.manifest, "--on-finish", "true").exit_code == 0


@pytest.mark.usefixtures("simulator")
def test_a_heartbeat_begins_and_ends_with_the_run(cli: Cli, batch: Batch, room: Room) -> None:
    """Also with one that is refused."""
    url = f"http://127.0.0.1:{room.server.server_port}/{TOKEN}/{{event}}"

    cli("run", batch.manifest, "--heartbeat", url)
    batch.write({"name": "anna"})
    cli("run", batch.manifest, "--heartbeat", url)

    assert room.gets == [f"/{TOKEN}/start", f"/{TOKEN}/0", f"/{TOKEN}/start", f"/{TOKEN}/3"]


@pytest.mark.usefixtures("simulator")
def test_a_heartbeat_that_nobody_takes_is_one_warning(cli: Cli, batch: Batch) -> None:
    """Without the address."""
    result = cli("run", batch.manifest, "--heartbeat", f"http://127.0.0.1:1/{TOKEN}")

    assert result.exit_code == 0
    assert result.stderr.count("warning: the heartbeat was not taken by http://...") == 1
    assert TOKEN not in result.stderr


@pytest.mark.usefixtures("simulator")
def test_without_the_extra_a_sentence_says_what_to_install(
    cli: Cli, batch: Batch, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent."""
    monkeypatch.setitem(sys.modules, "apprise", None)

    result = cli("run", batch.manifest, "--notify", room.address)

    assert result.exit_code == 4
    assert "hint: `pip install 'metastudio-orchestrator[notify]'`" in result.stderr


@pytest.mark.parametrize("address", ["nowhere://at-all", "no-url"])
@pytest.mark.usefixtures("simulator")
def test_an_address_that_is_none_is_refused_without_being_repeated(
    cli: Cli, batch: Batch, address: str
) -> None:
    """It may be a secret with a slip in it."""
    result = cli("run", batch.manifest, "--notify", f"{address}{TOKEN}")

    assert result.exit_code in {2, 4}
    assert TOKEN not in result.stderr


def test_addresses_are_shown_nowhere(cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config show` says that there are some."""
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY", f"wecombot://{TOKEN} json://{TOKEN}")
    monkeypatch.setenv("ORCHESTRATOR_HEARTBEAT", f"https://example.org/{TOKEN}")

    result = cli("config", "show", "--json")

    assert result.document["settings"]["notify"]["value"] == "wecombot://... json://..."
    assert result.document["settings"]["heartbeat"]["value"] == "https://..."
    assert TOKEN not in result.stdout + cli("config", "show").stdout


def test_messages_name_twenty_entries_and_count_the_rest() -> None:
    """A batch in which everything fails is one message."""
    notices = [Notice(f"failed:{n}", NoticeKind.FAILED, f"avatar-{n}: no") for n in range(312)]

    message = message_of("studio", NoticeKind.FAILED, notices)

    assert message.title == "studio: 312 entries failed"
    assert message.body.splitlines()[-2:] == ["avatar-19: no", "and 292 more"]


def test_a_hung_command_is_stopped(cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: Any) -> None:
    """With what it started, as far as it is the shell's."""
    monkeypatch.setattr("orchestrator.notifications.notifier.COMMAND_SECONDS", 0.2)

    result = cli("run", batch.manifest, "--on-finish", "exec sleep 60")

    assert result.exit_code == 0
    assert "was stopped: it took longer than 0:00" in result.stderr
