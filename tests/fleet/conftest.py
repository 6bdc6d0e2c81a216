"""A server with the tables of a fleet."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from orchestrator.fleet.queue import install
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]


@pytest.fixture
def state(postgres: str) -> Iterator[str]:
    """A schema with the tables of a fleet."""
    with schema_of(postgres) as url:
        anyio.run(install, url)
        yield url
