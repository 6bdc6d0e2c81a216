"""`init --scan` and `init --sample`: manifests that validate, plan and run."""

from __future__ import annotations

from pathlib import Path

import yaml

from orchestrator.manifest import open_manifest
from orchestrator.simulator import Simulator
from orchestrator.simulator.footage import sample_footage, write_letter, write_picture
from tests.cli.conftest import Cli
from tests.cli.documents import check_document


def hand_over(folder: Path) -> Path:
    """Two people, one with all papers, and a picture of which nobody can say what it is."""
    folder.mkdir()
    for name in ("陈 静$HOME", "bo"):
        (folder / f"{name}.mp4").write_bytes(sample_footage() + name.encode())
    write_picture(folder / "bo-front.png", 1)
    write_picture(folder / "bo-back.png", 2)
    write_letter(folder / "bo.pdf", 3)
    write_picture(folder / "bo.png", 4)
    return folder


def test_a_scanned_folder_becomes_a_manifest_that_is_read_as_it_was_shown(cli: Cli, tmp_path: Path) -> None:
    """Beside the folder or elsewhere; the unclear file is a comment, and named."""
    folder = hand_over(tmp_path / "hand over")
    manifest = tmp_path / "lists" / "studio.yaml"
    manifest.parent.mkdir()

    result = cli("init", manifest, "--scan", folder)
    entries = list(open_manifest(manifest).entries())

    assert result.exit_code == 0
    assert "bo.png: a picture of which kind" in result.stdout
    assert [(entry.entry_id, Path(entry.avatar.training_video).resolve()) for entry in entries] == [
        ("bo", folder / "bo.mp4"),
        ("陈-静-home", folder / "陈 静$HOME.mp4"),
    ]
    assert Path(entries[0].avatar.id_card_image1 or "").resolve() == folder / "bo-front.png"
    assert "#   bo.png: a picture" in manifest.read_text(encoding="utf-8")
    assert cli("validate", manifest).exit_code == 0


def test_the_document_has_what_was_found_and_what_was_not(cli: Cli, tmp_path: Path) -> None:
    """As its schema says."""
    document = cli("init", tmp_path / "m.yaml", "--scan", hand_over(tmp_path / "in"), "--json").document

    check_document("init", document)
    assert document["avatars"][0]["files"]["grant_file"] == "bo.pdf"
    assert [file["path"] for file in document["unclear"]] == ["bo.png"]


def test_a_file_name_cannot_write_lines_of_the_manifest(cli: Cli, tmp_path: Path) -> None:
    """Neither in a comment nor as a field."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a\navatars: [].png").write_bytes(b"x")
    (folder / "b: {c}\n.mp4").write_bytes(sample_footage())

    assert cli("init", tmp_path / "m.yaml", "--scan", folder).exit_code == 0

    (avatar,) = yaml.safe_load((tmp_path / "m.yaml").read_text(encoding="utf-8"))["avatars"]
    assert avatar["training_video"] == "in/b: {c}\n.mp4"


def test_what_cannot_be_scanned_is_a_usage_error_and_nothing_is_written(cli: Cli, tmp_path: Path) -> None:
    """No folder, an empty one, a table, both ways at once, a manifest that exists."""
    folder, manifest = hand_over(tmp_path / "in"), tmp_path / "m.yaml"
    (tmp_path / "empty").mkdir()

    assert cli("init", manifest, "--scan", tmp_path / "none").exit_code == 2
    assert cli("init", manifest, "--scan", tmp_path / "empty").exit_code == 2
    assert cli("init", tmp_path / "m.csv", "--scan", folder).exit_code == 2
    assert cli("init", manifest, "--scan", folder, "--sample", tmp_path / "s").exit_code == 2
    assert not list(tmp_path.glob("m.*"))
    assert cli("init", manifest, "--scan", folder).exit_code == 0
    assert cli("init", manifest, "--scan", folder).exit_code == 2
    assert cli("init", manifest, "--scan", folder, "--force").exit_code == 0


def test_a_sample_validates_plans_and_runs(cli: Cli, simulator: Simulator, tmp_path: Path) -> None:
    """Without a warning: what a newcomer sees first is a good day."""
    made = cli("init", "--sample", tmp_path / "rehearsal")
    manifest = tmp_path / "rehearsal" / "sample.yaml"

    validated = cli("validate", manifest, "--json")
    planned = cli("plan", manifest)
    ran = cli("run", manifest, "--json")

    assert f"orchestrator validate {manifest}" in made.stdout
    assert (validated.exit_code, validated.document["problems"]) == (0, [])
    assert (planned.exit_code, ran.exit_code) == (0, 0)
    assert ran.document["entries"]["done"] == len(simulator.jobs) == 3
    assert cli("init", "--sample", tmp_path / "rehearsal").exit_code == 2
    assert cli("init", "--sample", tmp_path / "rehearsal", "--force").exit_code == 0
