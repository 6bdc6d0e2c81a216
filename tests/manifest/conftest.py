"""Manifests written on the spot, and what comes of reading them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.entries import Entry
from orchestrator.manifest import Manifest, Problem, open_manifest


@dataclass
class Outcome:
    """A manifest that has been read to its end."""

    manifest: Manifest
    entries: list[Entry]

    @property
    def problems(self) -> list[Problem]:
        """All problems of the file."""
        return self.manifest.problems

    @property
    def only(self) -> Problem:
        """The one problem there is."""
        (problem,) = self.problems
        return problem


#: `read("x.yaml", text or bytes, **options of open_manifest)`
Read = Callable[..., Outcome]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a manifest and read all of it."""

    def read_manifest(name: str, content: str | bytes, **options: Any) -> Outcome:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        manifest = open_manifest(path, **options)
        return Outcome(manifest, list(manifest.entries()))

    return read_manifest
