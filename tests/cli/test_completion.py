"""What a shell completes: it asks the program, as its completion script does."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata

import pytest

from tests.cli.conftest import Batch, Cli


def completed(line: str) -> list[str]:
    """What bash offers for the last word of *line*, which may be empty."""
    words = line.split(" ")
    environ = {
        **os.environ,
        "_ORCHESTRATOR_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = subprocess.run(
        [sys.executable, "-m", "orchestrator"], env=environ, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.usefixtures("simulator")
def test_batches_and_entries_are_completed_from_the_journal(cli: Cli, batch: Batch) -> None:
    """Also of a journal that the command line names."""
    batch.write(batch.entry("anna"), batch.entry("av1"), batch.entry("bo"))
    cli("run", batch.manifest)
    cli("run", batch.manifest, "--batch-name", "other")

    assert completed("orchestrator status st") == ["studio"]
    assert sorted(completed("orchestrator results ")) == ["other", "studio"]
    assert completed("orchestrator status studio --entry a") == ["anna", "av1"]
    assert completed(f"orchestrator status --state {batch.folder}/none.db st") == []


@pytest.mark.usefixtures("simulator")
def test_entries_are_completed_however_the_name_of_the_batch_is_composed(cli: Cli, batch: Batch) -> None:
    """Some systems type and paste decomposed letters."""
    cli("run", batch.manifest, "--batch-name", "café")

    name = unicodedata.normalize("NFD", "café")
    assert completed(f"orchestrator status {name} --entry b") == ["bo"]


def test_entries_of_a_command_with_a_manifest_are_those_of_the_manifest(batch: Batch) -> None:
    """Before there is a journal."""
    assert completed(f"orchestrator run {batch.manifest} --entry b") == ["bo"]
    assert completed("orchestrator run none.yaml --entry b") == []


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("orchestrator stat", ["status"]),
        ("orchestrator run m.yaml --on-ex", ["--on-expired", "--on-existing"]),
        ("orchestrator run m.yaml --on-existing ", ["ask", "adopt", "create"]),
        ("orchestrator run m.yaml --progress b", ["bar"]),
        ("orchestrator watch studio --until tr", ["trained"]),
        ("orchestrator docs runn", ["running"]),
        ("orchestrator schema --sta", []),
    ],
)
def test_names_and_values_are_completed(line: str, choices: list[str]) -> None:
    """An option that does nothing in a command is not offered there."""
    assert completed(line) == choices
