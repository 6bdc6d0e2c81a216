"""Every runbook, pasted into a shell from its first command to its last, in the situation that it is for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.simulator import SimulatorOptions
from orchestrator.simulator.footage import write_footage
from tests.docs.conftest import AK, DOCS, PROJECT, ROOT, SK, Desk, a_run_under_way, in_journal
from tests.docs.pasting import Page, Shell
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]

#: A page of commands is as many starts of Python, beside other tests.
pytestmark = [pytest.mark.timeout(180), pytest.mark.long]
#: Stands in for programs of the system: it is content when the units it is given are installed.
_SYSTEMCTL = """#!/bin/sh
for word in "$@"; do
  case $word in
    *.service | *.timer) [ -e "$HOME/.config/systemd/user/$word" ] || { echo "no unit $word"; exit 5; } ;;
  esac
done
"""


def imitate(desk: Desk, *programs: str) -> None:
    """Put stand-ins for *programs* of the system on the path."""
    for name in programs:
        path = desk.home / ".local/bin" / name
        path.write_text(_SYSTEMCTL, encoding="utf-8")
        path.chmod(0o755)


def forget_keys(desk: Desk) -> None:
    """Start from an environment in which only the address of the service is known."""
    desk.shell.environment = {
        name: value
        for name, value in desk.shell.environment.items()
        if not name.startswith("HUAWEICLOUD_") and name != "ORCHESTRATOR_ENDPOINT"
    } | {"ORCHESTRATOR_ENDPOINT": desk.simulator.endpoint}


def name_the_service(desk: Desk) -> None:
    """The pages name a region of the vendor's; here the service is on this machine."""
    environment = desk.home / ".config/metastudio-orchestrator/environment"
    with environment.open("a", encoding="utf-8") as file:
        file.write(f"ORCHESTRATOR_ENDPOINT={desk.simulator.endpoint}\n")


def age(folder: Path) -> None:
    """Let the footage be an hour old."""
    hour_ago = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))


def test_every_runbook_is_in_the_table_with_its_test() -> None:
    """And every test in the table exists."""
    table = (DOCS / "runbooks/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\[([\w-]+\.md)\]\([\w-]+\.md\) \| `(test_\w+)`", table)

    assert {name for name, _ in rows} == {path.name for path in (DOCS / "runbooks").iterdir()} - {"README.md"}
    assert [test for _, test in rows if test not in globals()] == []


def test_first_batch(desk: Desk) -> None:
    """From a folder and keys to a reviewed batch."""
    forget_keys(desk)
    desk.batch.manifest.unlink()
    page = desk.runbook("first-batch.md")

    page.paste("1. Say who you are")
    page.paste("2. Write the manifest from the folder")
    page.paste("3. Check the manifest, the footage, the machine and the keys")
    one = page.paste("4. Send one avatar")
    assert "1 of 1" in one.text
    page.paste("5. Send the rest")
    assert {job.name for job in desk.simulator.all_jobs} == {"anna", "bo"}
    page.paste("6. Prove it and hand it over")
    page.paste("7. Send it to review")
    page.finish()


def test_nightly_cron(desk: Desk) -> None:
    """The line of the crontab is run as cron runs it: by sh, in the home, with almost no environment."""
    forget_keys(desk)
    age(desk.batch.folder)
    page = desk.runbook("nightly-cron.md")
    (line,) = re.findall(r"^30 1 \* \* \* (.*)$", page.path.read_text(encoding="utf-8"), re.MULTILINE)

    page.paste("1. Keep the keys in a file")
    name_the_service(desk)
    page.paste("2. Try what cron will do")
    night = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=desk.home,
        env={"HOME": str(desk.home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (night.returncode, night.stdout, night.stderr) == (0, "", "")
    assert len(desk.simulator.all_jobs) == 2
    assert "studio" in page.paste("4. In the morning").text
    page.finish()


def test_systemd(desk: Desk) -> None:
    """The units are put where systemd looks for them, and what they start is a run."""
    forget_keys(desk)
    age(desk.batch.folder)
    imitate(desk, "systemctl", "loginctl", "journalctl")
    desk.runbook("nightly-cron.md").paste("1. Keep the keys in a file")
    name_the_service(desk)
    desk.shell.folder = ROOT
    page = desk.runbook("systemd.md")

    page.paste("1. Keep the keys in a file")
    page.paste("2. Install the units")
    page.paste("3. Start the timer")
    unit = (desk.home / ".config/systemd/user/orchestrator.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    desk.type(
        "set -a; . ~/.config/metastudio-orchestrator/environment; MANIFEST=~/studio/studio.yaml; "
        + command.replace("%h", str(desk.home))
    )
    assert len(desk.simulator.all_jobs) == 2
    page.paste("4. Try it now, and in the morning")
    page.finish()


def test_exit_codes(desk: Desk) -> None:
    """Each code is brought about before its section is pasted."""
    desk.batch.write(*(desk.batch.entry(name) for name in ("anna", "bo", "carla", "dora")))
    page = desk.runbook("exit-codes.md")

    film = (desk.batch.folder / "bo.mp4").rename(desk.home / "away.mp4")
    page.paste("3: the manifest is invalid")
    film.rename(desk.batch.folder / "bo.mp4")

    desk.type("export HUAWEICLOUD_SDK_SK=wrong")
    page.paste("4: credentials or configuration")
    desk.type(f"export HUAWEICLOUD_SDK_SK={SK} ORCHESTRATOR_ENDPOINT=http://127.0.0.1:9")
    page.paste("5: temporary")
    desk.type(f"export ORCHESTRATOR_ENDPOINT={desk.simulator.endpoint}")
    page.paste("5: the outage is over")

    desk.batch.write(*(desk.batch.entry(name) for name in ("anna", "bo", "ivo")))
    with a_run_under_way(desk) as process:
        desk.type("orchestrator run studio.yaml", exit_code=6)
        assert f"process {process.pid}" in page.paste("6: another run works on the batch").text

    desk.batch.write(*(desk.batch.entry(name, size=500_000) for name in ("erik", "fay", "gao", "hana")))
    desk.simulator.faults.rates["early-403"] = 1.0
    desk.type("orchestrator run studio.yaml -j 1", exit_code=7)
    desk.simulator.faults.rates.clear()
    page.paste("7: the service refuses for good")

    desk.batch.write(desk.batch.entry("anna"), desk.batch.entry("jo"))
    desk.simulator.faults.script("put", ["early-403"])
    desk.type("orchestrator run studio.yaml", exit_code=8)
    page.paste("8: some entries failed")

    write_footage(desk.batch.folder / "anna.mp4", size=450_000, seed=7)
    desk.type("orchestrator run studio.yaml", exit_code=9)
    page.paste("9: a decision is needed")

    page.paste("129, 130, 143: stopped")
    page.finish()


def test_crash(desk: Desk) -> None:
    """kill -9 in the middle of the films: one job for each avatar, and its film whole."""
    with a_run_under_way(desk) as process:
        process.kill()
        process.wait()
    page = desk.runbook("crash.md")

    assert "killed" in page.paste("1. See what there is").text
    page.paste("2. Run again")
    assert len(desk.simulator.jobs) == 2
    assert "0 changed, 0 unknown" in page.paste("3. Prove it").text
    page.finish()


def test_expired_urls(desk: Desk) -> None:
    """The URLs in the journal are over; the service gives no fresh ones for a job that waits for files."""
    with a_run_under_way(desk) as process:
        process.kill()
        process.wait()
    in_journal(desk.journal, "UPDATE segments SET url = expired(url)")
    before = {job.job_id for job in desk.simulator.jobs}
    page = desk.runbook("expired-urls.md")

    page.paste("1. See whether the films fit")
    page.paste("2. Where a job must not be made again")
    assert {job.job_id for job in desk.simulator.jobs} == before
    page.paste("3. Run again")
    assert len(desk.simulator.jobs) == 2
    page.finish()


def test_review_failures(desk: Desk) -> None:
    """The automatic review refuses anna's film, and takes the one that replaces it."""
    desk.batch.write(desk.batch.entry("anna") | {"name": "review-fail"}, desk.batch.entry("bo"))
    desk.type("orchestrator run studio.yaml --submit")
    desk.type("orchestrator watch studio --until reviewed", exit_code=8)
    page = desk.runbook("review-failures.md")

    page.paste("1. Why")
    write_footage(desk.batch.folder / "anna.mp4", size=450_000, seed=7)
    page.paste("2. Replace what was refused")
    page.paste("3. Send it again")
    page.finish()


@pytest.mark.parametrize(
    "simulator_options",
    [SimulatorOptions(ak="your-new-access-key", sk="your-new-secret-key", project_id=PROJECT)],
    ids=[""],
)
def test_key_rotation(desk: Desk) -> None:
    """The service knows the new keys only; the settings of the shell are those of the first batch."""
    old = SimulatorOptions(ak=AK, sk=SK, project_id=PROJECT)
    page = desk.runbook("key-rotation.md")
    (desk.home / ".config/metastudio-orchestrator").mkdir(parents=True)

    assert "HUAWEICLOUD_SDK_AK" in page.paste("1. Which keys are used").text
    desk.type(f"export HUAWEICLOUD_SDK_AK={old.ak} HUAWEICLOUD_SDK_SK={old.sk}")
    desk.type("orchestrator run studio.yaml", exit_code=4)
    page.paste("2. Put the new ones in their place")
    page.paste("3. Check them before the night does")
    assert len(desk.simulator.jobs) == 2
    page.finish()


def test_journal(desk: Desk) -> None:
    """Moved, it goes on; damaged, its jobs are found at the service and taken over."""
    desk.type("orchestrator run studio.yaml --entry anna")
    page = desk.runbook("journal.md")

    page.paste("Move it")
    jobs = {job.job_id for job in desk.simulator.all_jobs}
    page.paste("Back it up")
    (desk.home / "journal/journal.db").write_bytes(b"not a journal any more" * 1000)
    page.paste("The journal is lost or damaged")
    assert {job.job_id for job in desk.simulator.all_jobs} == jobs
    page.finish()


def test_disk_full(desk: Desk) -> None:
    """Files of this process may not grow any more, as on a disk that is full."""
    desk.type("ulimit -f 100; orchestrator run studio.yaml", exit_code=5)
    (desk.batch.folder / "orchestrator.log.1").touch()
    page = desk.runbook("disk-full.md")

    page.paste("1. Which disk")
    page.paste("2. Make room")
    assert not (desk.batch.folder / "orchestrator.log.1").exists()
    page.paste("3. Run again")
    assert len(desk.simulator.jobs) == 2
    page.finish()


def test_two_machines(desk: Desk, tmp_path: Path) -> None:
    """The second machine has the footage and the manifest, and no journal."""
    page = desk.runbook("two-machines.md")
    second = {**desk.shell.environment, "XDG_STATE_HOME": str(tmp_path / "second")}

    page.paste("Share the work: a batch for each machine")
    jobs = {job.job_id for job in desk.simulator.all_jobs}
    page.shell = Shell(desk.batch.folder, second, tmp_path / "second-shell")
    page.paste("The same batch by mistake")
    assert jobs <= {job.job_id for job in desk.simulator.all_jobs}
    page.finish()


def test_upgrade(desk: Desk) -> None:
    """A newer version has raised the schema, and made a job that the copy does not know."""
    desk.type("orchestrator run studio.yaml --entry anna")
    page = desk.runbook("upgrade.md")

    page.paste("Upgrade")
    jobs = {job.job_id for job in desk.simulator.all_jobs}
    in_journal(desk.journal, "INSERT INTO schema_migrations VALUES (999, 'of a newer version', 0)")
    page.paste("Downgrade")
    assert {job.job_id for job in desk.simulator.all_jobs} == jobs
    page.finish()


def test_uninstall(desk: Desk) -> None:
    """Nothing of the program is left in the home but the program."""
    imitate(desk, "systemctl", "loginctl")
    desk.runbook("nightly-cron.md").paste("1. Keep the keys in a file")
    desk.shell.folder = ROOT
    systemd = desk.runbook("systemd.md")
    systemd.paste("1. Keep the keys in a file")
    systemd.paste("2. Install the units")
    desk.shell.folder = desk.batch.folder
    desk.type("orchestrator run studio.yaml")
    page = desk.runbook("uninstall.md")

    page.paste("1. Is anything unfinished?")
    assert desk.simulator.jobs == []
    page.paste("2. Stop the nights")
    page.paste("3. Remove its files")
    left = {path.name for path in desk.home.rglob("*") if path.is_file()}
    assert {name for name in left if "orchestrator" in name or name.endswith(".db")} == {"orchestrator"}
    page.finish()


def test_network_and_permissions(desk: Desk) -> None:
    """The hosts are named by what the page says names them."""
    desk.type("orchestrator run studio.yaml")
    page = desk.runbook("network-and-permissions.md")

    checked = page.paste("Check it from this machine").text
    assert [name for name in ("service", "tls", "clock", "store") if f" {name} " not in checked] == [], (
        checked
    )
    page.finish()


@contextmanager
def working(desk: Desk) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, which is stopped after the block."""
    worker = desk.start("orchestrator work -j 2")
    try:
        yield worker
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    finally:
        worker.kill()
        worker.wait()


def await_fleet(desk: Desk, is_so: Callable[[dict[str, Any]], object]) -> None:
    """Ask until `fleet status` says what is waited for."""
    deadline = time.monotonic() + 60
    while not is_so(json.loads(desk.type("orchestrator fleet status --json"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def fleet(desk: Desk, postgres: str) -> Iterator[str]:
    """The URL of an empty database, which the environment of the desk names."""
    with schema_of(postgres) as state:
        desk.shell.environment = {**desk.shell.environment, "ORCHESTRATOR_STATE": state}
        yield state


def test_start_of_a_fleet(desk: Desk, fleet: str) -> None:
    """The page on fleets, whose database is the one here."""
    page = Page(DOCS / "fleet.md", desk.shell)
    export = f"export ORCHESTRATOR_STATE={desk.shell.environment['ORCHESTRATOR_STATE']!r}"
    page.left[0][1][0] = export

    page.paste("Install")
    with working(desk):
        page.paste("Start")
    page.paste("Watch it")
    page.finish()

    assert sorted(job.name for job in desk.simulator.jobs) == ["anna", "bo"]
    assert 'metastudio_run_exit_code{batch=""} 0.0' in (desk.shell.folder / "worker.prom").read_text(
        encoding="utf-8"
    )
    with psycopg.connect(fleet) as server:
        assert server.execute("SELECT count(*) FROM pgqueuer").fetchall() == [(0,)]


def test_fleet(desk: Desk, fleet: str) -> None:
    """A brake, a dead worker, failed and parked avatars, an absence of the server, a new version."""
    page, faults = desk.runbook("fleet.md"), desk.simulator.faults.rates
    names = ["anna", "bo", "cleo", "dora", "emil", "fay"]
    entries = [desk.batch.entry(name) for name in names]
    desk.batch.write(*entries)
    desk.type("orchestrator fleet install && orchestrator enqueue studio.yaml")
    faults["early-403"] = 1.0
    with working(desk) as worker:
        await_fleet(desk, lambda found: found["brakes"])
        faults.clear()
        faults["never-answer"] = 1.0
        released = page.paste("Nothing moves").text
        assert "stopped for" in released
        assert "workers continue" in released
        await_fleet(desk, lambda found: found["entries"]["in_progress"])
        worker.kill()

    with psycopg.connect(fleet) as server:
        server.execute("UPDATE pgqueuer SET heartbeat = now() - interval '2 minutes'")
    assert " 0 stale" not in page.paste("Avatars are stale").text
    faults.clear()
    with psycopg.connect(fleet) as server:
        # A server that has just started gives dead workers as long as live ones: a minute in which others only wait.
        server.execute(
            "UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, execute_after = now()"
        )
    failed = page.paste("Avatars failed").text
    assert "403" in failed
    desk.type("orchestrator work --until-done")

    desk.batch.write(*entries, desk.batch.entry("zoe"))
    desk.type("orchestrator enqueue studio.yaml")
    with psycopg.connect(fleet) as server:
        # What eleven workers leave that claimed it and died before they had done anything.
        server.execute("UPDATE entries SET epoch = 11 WHERE entry_id = 'zoe'")
        server.execute(
            "INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)"
            " SELECT id, 'picked', entrypoint, 0 FROM pgqueuer, generate_series(1, 11)"
        )
    desk.type("orchestrator work --until-done")
    assert "11 workers in a row" in page.paste("Avatars are parked").text
    desk.type("orchestrator work --until-done")

    assert "7 confirmed" in page.paste("PostgreSQL was away").text
    assert "0 in progress" in page.paste("Upgrade").text
    page.finish()
    assert sorted(job.name for job in desk.simulator.jobs) == [*names, "zoe"]
