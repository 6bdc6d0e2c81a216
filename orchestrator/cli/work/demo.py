"""`demo`: runs a sample batch against a simulator, with generated footage, all on this machine."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote

import anyio
import anyio.to_thread
import yaml
from platformdirs import user_state_path

from orchestrator.api.checking import ManifestRequest
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.process import run_on_network
from orchestrator.cli.work.listings import ProblemReport
from orchestrator.cli.work.run import run_once
from orchestrator.domain.entries import slug
from orchestrator.domain.errors import ConfigurationError
from orchestrator.journal.journal import folder_of
from orchestrator.metastudio.rate_limit import ApiRate
from orchestrator.settings.sources import EffectiveSettings
from orchestrator.settings.values import APPLICATION
from orchestrator.simulator import Simulator, SimulatorOptions
from orchestrator.simulator.footage import write_footage, write_letter, write_picture

#: Below the range of ephemeral ports, so that the same endpoint is free next time.
FIRST_PORT = 18437
_VIDEO_BYTES = 12_000_000
_PART_BYTES = 1_000_000
#: The store is slowed down so that progress can be watched; larger batches get a higher rate to limit the time.
DEMO_BYTES_PER_SECOND = 4_500_000
_LONGEST_SECONDS = 12.0
_NAMES = ("Anna", "Bai Lin", "Carla", "Dmitri", "Esra", "Femi", "Gao Min", "Hana")


def run_demo(invocation: Invocation, directory: Path | None, avatars: int) -> int:
    """Run the demo's batch; files of an earlier demo are reused."""
    effective = invocation.settings()
    beside = folder_of(effective.values.state) or user_state_path(APPLICATION)
    folder = directory or beside / "demo"
    return run_on_network(_run_demo, invocation, effective, folder.absolute(), avatars)


async def _run_demo(invocation: Invocation, effective: EffectiveSettings, folder: Path, avatars: int) -> int:
    output = invocation.output
    try:
        manifest = await anyio.to_thread.run_sync(prepare_batch, folder, avatars)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the demo to {folder}: {error.strerror}", hint="choose another folder with --dir"
        ) from None
    async with _simulator(folder, avatars) as simulator:
        output.say(f"sample footage in {folder}, a simulated MetaStudio on {simulator.endpoint}")
        output.say(f"$ orchestrator run {manifest}")
        values = effective.values.model_copy(
            update={
                "state": str(folder / "journal.db"),
                "endpoint": simulator.endpoint,
                "region": None,
                "project_id": simulator.options.project_id,
                "api_rate": ApiRate(0.0, 0.0),
                "part_size": _PART_BYTES,
            }
        )
        exit_code = await run_once(
            invocation,
            ManifestRequest(path=manifest),
            replace(effective, values=values),
            ProblemReport(output),
            environ={
                "HUAWEICLOUD_SDK_AK": simulator.options.ak,
                "HUAWEICLOUD_SDK_SK": simulator.options.sk,
            },
        )
    output.say(f"look at it: orchestrator status demo --state {quote(values.state)}")
    output.say(
        f"do the same with a simulator that stays: orchestrator init --sample {quote(str(folder / 'own'))}"
    )
    return exit_code


def prepare_batch(folder: Path, avatars: int) -> Path:
    """Create the missing files and the manifest; return the manifest."""
    footage = folder / "footage"
    footage.mkdir(parents=True, exist_ok=True)
    names = [_NAMES[place] if place < len(_NAMES) else f"Avatar {place + 1}" for place in range(avatars)]
    manifest = folder / "demo.yaml"
    batch = {
        "batch_name": "demo",
        "defaults": {"contact": "ops@example.com"},
        "avatars": [_avatar(footage, name, seed) for seed, name in enumerate(names)],
    }
    manifest.write_text(yaml.safe_dump(batch, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return manifest


def _avatar(footage: Path, name: str, seed: int) -> dict[str, str]:
    files: dict[str, tuple[str, Callable[[Path], None]]] = {
        "training_video": ("mp4", lambda path: write_footage(path, size=_VIDEO_BYTES, seed=seed)),
        "cover": ("cover.png", lambda path: write_picture(path, 3 * seed)),
        "id_card_image1": ("front.png", lambda path: write_picture(path, 3 * seed + 1)),
        "id_card_image2": ("back.png", lambda path: write_picture(path, 3 * seed + 2)),
        "grant_file": ("pdf", lambda path: write_letter(path, seed)),
    }
    avatar = {"name": name}
    for field, (suffix, write) in files.items():
        path = footage / f"{slug(name)}.{suffix}"
        # Written under another name first: a file that exists is complete and is not changed.
        if not path.exists():
            unfinished = path.with_name(f".{path.name}")
            write(unfinished)
            unfinished.replace(path)
        avatar[field] = f"footage/{path.name}"
    return avatar


@asynccontextmanager
async def _simulator(folder: Path, avatars: int) -> AsyncIterator[Simulator]:
    """Run a simulator with the state and port of the last demo: the port is part of the batch's key."""
    port_file = folder / "port"
    rate = max(DEMO_BYTES_PER_SECOND, avatars * _VIDEO_BYTES / _LONGEST_SECONDS)
    options = SimulatorOptions(store_bytes_per_second=rate)
    port = int(port_file.read_text(encoding="ascii")) if port_file.exists() else None
    simulator = await _start(options, folder / "simulator", port)
    try:
        port_file.write_text(simulator.endpoint.rpartition(":")[2], encoding="ascii")
        yield simulator
    finally:
        await simulator.stop()


async def _start(options: SimulatorOptions, data: Path, port: int | None) -> Simulator:
    simulator = Simulator(options, data=data, port=FIRST_PORT if port is None else port)
    try:
        await simulator.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and port is None:
            simulator = Simulator(options, data=data, port=0)
            await simulator.start()
            return simulator
        raise ConfigurationError(
            f"the demo's simulator cannot start: {error.strerror or error}",
            hint="is the demo running elsewhere? Wait for it, or choose another folder with --dir",
        ) from None
    return simulator
