"""A fleet's journal on a real server, for the tests of a module that imports `postgres` and `state`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Cli
from tests.postgres import postgres, schema_of

__all__ = ["postgres", "state"]


@pytest.fixture(autouse=True)
def state(postgres: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty schema of the server, which the environment names, with a queue."""
    with schema_of(postgres) as url:
        monkeypatch.setenv("ORCHESTRATOR_STATE", url)
        cli("fleet", "install")
        yield url
