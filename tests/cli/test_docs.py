"""The pages that come with the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

ROOT = Path(__file__).parents[2]


def test_docs_names_the_folder_and_every_topic(cli: Cli) -> None:
    """The folder is the first line, for scripts."""
    result = cli("docs")

    first, _, *topics = result.stdout.splitlines()
    folder = Path(first)
    assert result.exit_code == 0
    assert (folder / "running.md").is_file()
    # Of the checkout that the tests are from, whatever was installed from it.
    pages = [
        path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")
    ]
    assert sorted(line.split()[0] for line in topics) == sorted(pages)


@pytest.mark.parametrize("topic", ["running", "running.md", "runbooks/first-batch"])
def test_docs_prints_a_page(cli: Cli, topic: str) -> None:
    """As it is written."""
    folder = Path(cli("docs").stdout.splitlines()[0])

    assert cli("docs", topic).stdout == (folder / f"{topic.removesuffix('.md')}.md").read_text(
        encoding="utf-8"
    )


def test_a_wrong_topic_names_the_nearest(cli: Cli) -> None:
    """Exit 2."""
    result = cli("docs", "runing")

    assert result.exit_code == 2
    assert "did you mean running?" in result.stderr
