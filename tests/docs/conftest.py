"""A person's desk, at which the commands of pages are typed."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, ThreadedSimulator
from tests.docs.pasting import Page, Shell, install_program

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: What the pages write for a person's own.
AK, SK, PROJECT = "your-access-key", "your-secret-key", "your-project-id"


@dataclass
class Desk:
    """A person's home with footage and a manifest in `studio/`, the program installed, and a service to talk to."""

    home: Path
    batch: Batch
    running: ThreadedSimulator
    shell: Shell

    @property
    def simulator(self) -> Simulator:
        """The service."""
        return self.running.simulator

    @property
    def journal(self) -> Path:
        """Where the program keeps its journal."""
        return self.home / ".local/state/metastudio-orchestrator/journal.db"

    def runbook(self, name: str) -> Page:
        """A page of docs/runbooks, to be pasted here."""
        return Page(DOCS / "runbooks" / name, self.shell)

    def type(self, command: str, exit_code: int = 0) -> str:
        """What happened before the page is opened; the command's output."""
        printed = self.shell.run(command)
        assert printed.exit_code == exit_code, f"{command} ended with {printed.exit_code}:\n{printed.text}"
        return printed.text

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on while others are typed."""
        return subprocess.Popen(
            ["/bin/bash", "-c", f"exec {command}"],
            cwd=self.shell.folder,
            env=self.shell.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """A service that knows the keys of the pages, reviews at once, and believes small footage."""
    return SimulatorOptions(ak=AK, sk=SK, project_id=PROJECT, speed=1e9)


@pytest.fixture
def desk(tmp_path: Path, simulator_options: SimulatorOptions) -> Iterator[Desk]:
    """Somebody at a shell in `~/studio`."""
    home = tmp_path / "home"
    studio = home / "studio"
    studio.mkdir(parents=True)
    install_program(home / ".local/bin")
    batch = Batch(studio)
    batch.write(batch.entry("anna"), batch.entry("bo"))
    running = ThreadedSimulator(simulator_options, tmp_path / "simulator")
    environment = {
        "HOME": str(home),
        "PATH": f"{home}/.local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **running.environment,
    }
    yield Desk(home, batch, running, Shell(studio, environment, tmp_path / "shell"))
    running.stop()


@contextmanager
def a_run_under_way(desk: Desk) -> Iterator[subprocess.Popen[bytes]]:
    """Run the batch against a store that answers nothing for the block; the run is killed after it.

    All jobs are made when the block begins: one whose create is under way is a story of its own.
    """
    before = desk.simulator.stats.requests["put"]
    desk.simulator.faults.rates["never-answer"] = 1.0
    process = desk.start("orchestrator run studio.yaml --on-change recreate")
    deadline = time.monotonic() + 20
    while desk.simulator.stats.requests["put"] == before or _creates_under_way(desk.journal):
        assert time.monotonic() < deadline, "the run sends nothing"
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()
    desk.simulator.faults.rates.clear()


def _creates_under_way(journal: Path) -> int:
    with closing(sqlite3.connect(journal)) as connection:
        waiting = "SELECT count(*) FROM entries WHERE state IN ('pending', 'creating')"
        ((count,),) = connection.execute(waiting)
        return int(count)


def in_journal(path: Path, statement: str) -> None:
    """Do to a journal what only time, or another version, can do."""
    connection = sqlite3.connect(path)
    connection.create_function("expired", 1, lambda url: url and re.sub(r"Expires=\d+", "Expires=1", url))
    connection.execute(statement)
    connection.commit()
    connection.close()
