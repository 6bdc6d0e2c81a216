"""`--report`: the page about the films that were looked at, for its owner's eyes only."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.work.look import Looked
from orchestrator.domain.errors import ConfigurationError
from orchestrator.manifest import Problem
from orchestrator.preflight.finding import Finding


def write_film_page(
    path: Path, title: str, looked: Sequence[Looked], problems: Sequence[Problem], *, jobs: int
) -> None:
    """Write the page to *path* with mode 0600; raises ConfigurationError when it cannot be written.

    *problems* are all of the manifest; those about a film stand beside its pictures.
    """
    from orchestrator.preflight.look.pool import strips_of_films  # noqa: PLC0415 - needs the extra
    from orchestrator.preflight.page.rendering import FilmRow, render_page  # noqa: PLC0415 - needs the extra

    strips = strips_of_films((one.film.path for one in looked), jobs=jobs)
    rows = [
        FilmRow(
            entry=one.film.entry.entry_id,
            kind=one.film.kind.value.replace("_", " "),
            name=Path(one.film.path).name,
            seconds=one.measures.seconds,
            findings=_findings(one, problems),
            strip=strips.get(one.film.path, ()),
            curve=one.measures.curve,
        )
        for one in looked
    ]
    made_at = time.strftime("%Y-%m-%d %H:%M")
    _write_private(path, render_page(title, rows, made_at))


def _findings(one: Looked, problems: Sequence[Problem]) -> list[Finding]:
    """What is said of the film, without its path."""
    film = one.film
    about = (p for p in problems if (p.entry, p.field) == (film.entry.entry_id, film.kind.value))
    return [
        Finding(p.rule, p.message.removeprefix(f"{film.path}: "), p.verdict, is_error=p.is_error)
        for p in about
    ]


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"the page cannot be written: {path}: {error.strerror}", hint="give another file with --report"
        ) from None
