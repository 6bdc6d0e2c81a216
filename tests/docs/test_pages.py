"""The pages that are made from the program are current, and what the others point at exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pages.__main__ import DOCS, PAGES

from orchestrator.cli.commands import SUMMARIES

ROOT = DOCS.parent
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_program_is_current(name: str) -> None:
    """`scripts/write-pages` writes it."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """To a file that exists, and to a heading that it has."""
    text = _CODE.sub("", document.read_text(encoding="utf-8"))
    links = [link for link in _LINK.findall(text) if "://" not in link]

    assert [link for link in links if not _exists(document, link)] == []


def test_every_command_is_in_the_index() -> None:
    """A person finds the page by the name of the command as well."""
    index = (DOCS / "usage.md").read_text(encoding="utf-8")
    # A group is named by its commands: `config show`.
    names = [name for name in SUMMARIES if name != "config"]

    assert [name for name in names if f"`{name}`" not in index] == []


def test_every_page_is_in_the_index() -> None:
    """None can only be found by its file."""
    pages = {path.name for path in DOCS.glob("*.md")} - {"usage.md"}

    assert pages <= set(_LINK.findall((DOCS / "usage.md").read_text(encoding="utf-8")))


def test_every_extra_is_explained() -> None:
    """Where a person reads what to install; the developers' is theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (DOCS / "getting-started.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| `([\w-]+)` \| ", page, re.MULTILINE)) == {
        *project["optional-dependencies"]
    } - {"dev"}


def _exists(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(document: Path) -> set[str]:
    """The names that a Markdown viewer gives to headings: lower case, no punctuation, dashes for spaces."""
    headings = _HEADING.findall(_CODE.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
