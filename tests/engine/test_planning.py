"""A plan is made from the files as they are when their entry's turn comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.engine import planning
from orchestrator.engine.planning import Planner
from orchestrator.manifest import open_manifest
from orchestrator.simulator.footage import sample_footage, write_picture
from tests.rig import run_settings


@pytest.mark.parametrize(("chunk_entries", "is_seen"), [(1, True), (2, False)])
async def test_a_shared_file_is_looked_at_anew_for_entries_planned_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_entries: int, *, is_seen: bool
) -> None:
    """Planning a large batch takes a while; entries that are planned together see the same files."""
    monkeypatch.setattr(planning, "CHUNK_ENTRIES", chunk_entries)
    (tmp_path / "film.mp4").write_bytes(sample_footage())
    write_picture(tmp_path / "cover.png", 1)
    manifest = tmp_path / "batch.csv"
    manifest.write_text("name,training_video,cover\nAnna,film.mp4,cover.png\nBea,film.mp4,cover.png\n")
    plans = Planner(open_manifest(manifest), None, "", run_settings(), with_media=False).plans()

    first = await anext(plans)
    with (tmp_path / "cover.png").open("ab") as cover:
        cover.write(b"retouched")
    second = await anext(plans)

    assert (first.assets != second.assets) is is_seen
    assert second.segments == first.segments == 2
