"""A batch of real files, a simulator in a thread of its own, and the program called as a shell would."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli.main import run_command
from orchestrator.cli.work import demo
from orchestrator.simulator import Simulator, SimulatorOptions
from orchestrator.simulator.footage import write_footage, write_letter, write_picture

SECRETS = ("Signature=", "Authorization", "simulator-secret", "simulator-static-token", "13800138000")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and an environment without a word for us."""
    for name in list(os.environ):
        if name.startswith(("ORCHESTRATOR_", "HUAWEICLOUD_", "AWS_", "XDG_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _quick_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that is not slowed down for people to watch."""
    monkeypatch.setattr(demo, "DEMO_BYTES_PER_SECOND", 1e9)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one document on stdout."""
        return json.loads(self.stdout)  # type: ignore[no-any-return]


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Call the program in this process."""

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        exit_code = run_command([str(argument) for argument in arguments])
        return Result(exit_code, *capfd.readouterr())

    return call


class Terminal(io.StringIO):
    """What a person types at, or reads from."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Terminal]:
    """Let a person at a terminal type something; returns what is asked of them."""

    def type_in(text: str) -> Terminal:
        asked = Terminal()
        monkeypatch.setattr(sys, "stdin", Terminal(f"{text}\n"))
        monkeypatch.setattr(sys, "stderr", asked)
        return asked

    return type_in


class ThreadedSimulator:
    """A simulator on a loop of its own, so that the program under test can have this thread."""

    def __init__(self, options: SimulatorOptions, data: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.simulator = Simulator(options, data=data)
        self._wait_for(self.simulator.start())

    def stop(self) -> None:
        self._wait_for(self.simulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait_for(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    @property
    def environment(self) -> Mapping[str, str]:
        options = self.simulator.options
        return {
            "ORCHESTRATOR_ENDPOINT": self.simulator.endpoint,
            "ORCHESTRATOR_API_RATE": "unlimited",
            "HUAWEICLOUD_SDK_AK": options.ak,
            "HUAWEICLOUD_SDK_SK": options.sk,
            "HUAWEICLOUD_SDK_PROJECT_ID": options.project_id,
        }


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """What the simulator is told; a test module overrides it."""
    return SimulatorOptions()


@pytest.fixture
def simulator(
    tmp_path: Path, simulator_options: SimulatorOptions, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulator]:
    """A running simulator that the environment names."""
    running = ThreadedSimulator(simulator_options, tmp_path / "simulator")
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    yield running.simulator
    running.stop()


@dataclass
class Batch:
    """A folder with footage and a manifest."""

    folder: Path
    head: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        return self.folder / "studio.yaml"

    def write(self, *entries: Mapping[str, Any]) -> None:
        document = {**self.head, "avatars": [dict(entry) for entry in entries]}
        self.manifest.write_text(yaml.safe_dump(document), encoding="utf-8")

    def entry(self, name: str, size: int = 400_000, **fields: Any) -> dict[str, Any]:
        """An avatar with a contact, a training video, both id cards and a letter, so that nothing is warned of."""
        seed = sum(name.encode())
        write_footage(self.folder / f"{name}.mp4", size=size, seed=seed)
        write_picture(self.folder / f"{name}-front.png", seed)
        write_picture(self.folder / f"{name}-back.png", seed + 1)
        write_letter(self.folder / f"{name}.pdf", seed)
        return {
            "id": name,
            "name": name,
            "training_video": f"{name}.mp4",
            "id_card_image1": f"{name}-front.png",
            "id_card_image2": f"{name}-back.png",
            "grant_file": f"{name}.pdf",
            "contact": "ops@example.com",
            **fields,
        }


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Two avatars and their manifest."""
    folder = tmp_path / "studio"
    folder.mkdir()
    made = Batch(folder)
    made.write(made.entry("anna"), made.entry("bo"))
    return made


def program(*arguments: object) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def start_program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start programs that do not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        started.append(program(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
