"""`orchestrator docs`: the pages that come with the program, for people without a browser at hand."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

import orchestrator
from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.output import SCHEMA
from orchestrator.domain.errors import ConfigurationError, UsageError


def topics(context: typer.Context, incomplete: str) -> list[str]:
    """What a shell completes."""
    del context
    return [topic for topic in _pages() if topic.startswith(incomplete)]


@takes_settings(unused=("state", "progress", "log_max_size"))
def docs(
    invocation: Invocation,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="The page to print, such as running or runbooks/first-batch.",
            show_default=False,
            autocompletion=topics,
        ),
    ] = None,
) -> None:
    """Print where the documentation is, or a page of it.

    The pages come with the program. Without TOPIC: their folder, and every topic with its title.

    \b
    Examples:
      orchestrator docs
      orchestrator docs running
      orchestrator docs runbooks/first-batch
      orchestrator docs troubleshooting | less
    """
    output, pages = invocation.output, _pages()
    if topic is None:
        titles = {name: _title(path) for name, path in pages.items()}
        if output.is_json:
            listed = [{"topic": name, "title": title} for name, title in titles.items()]
            output.document({"schema": SCHEMA, "folder": str(_folder()), "topics": listed})
        output.say(str(_folder()))
        output.say()
        widest = max(map(len, titles))
        for name, title in titles.items():
            output.say(f"{name:<{widest}}  {title}")
        return
    page = pages.get(topic.removesuffix(".md"))
    if page is None:
        near = get_close_matches(topic, pages, n=1)
        raise UsageError(
            f"no such topic: {topic}{f'; did you mean {near[0]}?' if near else ''}",
            hint="`orchestrator docs` lists the topics",
        )
    text = page.read_text(encoding="utf-8")
    if output.is_json:
        output.document({"schema": SCHEMA, "topic": topic, "title": _title(page), "text": text})
    else:
        output.write(text)


def _folder() -> Path:
    """Where the pages are: in the package, or beside it where it runs from a checkout."""
    package = Path(orchestrator.__file__).parent
    return next(
        (folder for folder in (package / "docs", package.parent / "docs") if folder.is_dir()), package
    )


def _pages() -> dict[str, Path]:
    """Every page by its topic; raises ConfigurationError where the package came without them."""
    folder = _folder()
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))
    }
    if not found:
        raise ConfigurationError(
            "the documentation was left out of this installation",
            hint="install the program again from its wheel",
        )
    return found


def _title(page: Path) -> str:
    with page.open(encoding="utf-8") as lines:
        return next((line[2:].strip() for line in lines if line.startswith("# ")), page.stem)
