"""One harness for all the rounds of a test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.harness import Harness


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A service that survives and runs that die."""
    harness = Harness(tmp_path_factory.mktemp("worlds"))
    yield harness
    harness.close()
