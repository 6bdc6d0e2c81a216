"""The table of faults names tests that exist, and every test of a fault is named in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
REFERENCE = re.compile(r"`(?P<file>[\w/]+\.py)(?:::(?P<name>\w+))?`")


def named_tests() -> list[tuple[Path, str | None]]:
    """Files, and the functions in them, that the document names as tests."""
    found = REFERENCE.finditer(DOCUMENT.read_text(encoding="utf-8"))
    paths = ((ROOT / re.sub(r"^faults/", "tests/faults/", match["file"]), match["name"]) for match in found)
    return [(path, name) for path, name in paths if "tests" in path.parts]


def functions_of(path: Path) -> set[str]:
    """The names of its functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_the_document_names_exists() -> None:
    """A renamed test takes its row along."""
    missing = [
        (path.name, name)
        for path, name in named_tests()
        if not path.exists() or (name is not None and name not in functions_of(path))
    ]

    assert not missing


def test_every_test_of_a_fault_is_in_the_document() -> None:
    """What a run does on a bad day is documented, test by test or file by file."""
    named = named_tests()
    files = [path for path in (ROOT / "tests" / "faults").glob("test_*.py") if path != Path(__file__)]

    untold = [
        name
        for path in files
        if (path, None) not in named
        for name in sorted(functions_of(path))
        if name.startswith("test_") and (path, name) not in named
    ]

    assert not untold
