"""One SeaweedFS for all tests, and simulators that keep their objects there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.object_store.seaweed import Seaweed, seaweed
from tests.rig import Rig, run_settings

#: Both are right for two parts of over 5 MiB, less than which SeaweedFS does not join.
VIDEO_BYTES = 10_700_000
PART_BYTES = 6_000_000
MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store."""
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
async def make_rig(weed: Seaweed, tmp_path: Path) -> AsyncIterator[MakeRig]:
    """Start a simulator in front of the store, and put a batch folder beside it."""
    async with AsyncExitStack() as stack:

        async def make(signature: str = "v2", clock: Callable[[], float] = time.time, **options: Any) -> Rig:
            simulator = Simulator(
                SimulatorOptions(object_store=weed.options(signature=signature), **options),
                data=tmp_path / "simulator",
                clock=clock,
            )
            await stack.enter_async_context(simulator)
            folder = tmp_path / "studio"
            folder.mkdir()
            return Rig(
                simulator=simulator, folder=folder, settings=run_settings(part_bytes=PART_BYTES), clock=clock
            )

        yield make
