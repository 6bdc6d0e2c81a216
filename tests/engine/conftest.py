"""A simulator and a batch for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.rig import Rig


@pytest.fixture
def simulator_options() -> SimulatorOptions:
    """What the simulator is told; a test module overrides it."""
    return SimulatorOptions()


@pytest.fixture
async def rig(tmp_path: Path, simulator_options: SimulatorOptions) -> AsyncIterator[Rig]:
    """A batch folder and a running simulator."""
    folder = tmp_path / "studio"
    folder.mkdir()
    async with Simulator(simulator_options, data=tmp_path / "simulator") as simulator:
        yield Rig(simulator=simulator, folder=folder)
