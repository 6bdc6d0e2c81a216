"""What a shell completes besides the names of commands and options: batches, entries, and the values of an option.

A shell shows nothing where something is wrong: no journal, a manifest that cannot be read, a setting that cannot be.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from orchestrator.domain.errors import OrchestratorError

Completed = Callable[[typer.Context, str], list[str]]
#: More are of no help; a manifest may have fifty thousand.
_MOST_CHOICES = 500


def values_of(metavar: str | None) -> Completed | None:
    """The completion of an option of which help says `auto|bar|plain`; None where it has no such list."""
    values = [value for value in (metavar or "").split("|") if value.islower()]
    if len(values) < 2:
        return None

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        del context
        return [value for value in values if value.startswith(incomplete)]

    return complete


def batch_names(context: typer.Context, incomplete: str) -> list[str]:
    """The batches of the journal, the latest first."""
    return _choices(context, incomplete, _read_batches)


def entry_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The entries of the manifest or of the batch that the command line names."""
    return _choices(context, incomplete, _read_entries)


def _choices(
    context: typer.Context, incomplete: str, read: Callable[[dict[str, Any]], Iterable[str]]
) -> list[str]:
    try:
        found = [choice for choice in read(_given(context, incomplete)) if choice.startswith(incomplete)]
    except (OrchestratorError, OSError):
        return []
    return found[:_MOST_CHOICES]


def _given(context: typer.Context, incomplete: str) -> dict[str, Any]:
    """What the command line says before the word that is completed.

    An option that waits for its value ends the parsing of it all, so the words before that are parsed once more.
    """
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        words = shlex.split(line)[2:]
    except ValueError:  # a quotation mark that is not closed yet
        words = line.split()[2:]
    before = words[:-1] if words and words[-1] == incomplete else words
    while before and before[-1].startswith("-"):
        before = before[:-1]
    parsed = context.command.make_context(context.info_name, list(before), resilient_parsing=True)
    return {name: value for name, value in (context.params | parsed.params).items() if value}


def _state(given: dict[str, Any]) -> str:
    from orchestrator.api.settings import load_settings  # noqa: PLC0415 - only when a shell asks

    flags = {"state": given["state"]} if given.get("state") else {}
    return load_settings(flags=flags, config=given.get("config"), beside=None).values.state


def _read_batches(given: dict[str, Any]) -> list[str]:
    from orchestrator.cli.process import run_async  # noqa: PLC0415 - only when a shell asks
    from orchestrator.journal.journal import exists, open_journal  # noqa: PLC0415

    state = _state(given)

    async def read() -> list[str]:
        async with open_journal(state, clock=float) as journal:
            return [batch.name for batch in await journal.batches()]

    return list(dict.fromkeys(run_async(read))) if exists(state) else []


def _read_entries(given: dict[str, Any]) -> list[str]:
    from orchestrator.cli.process import run_async  # noqa: PLC0415 - only when a shell asks
    from orchestrator.journal.journal import exists, open_journal  # noqa: PLC0415
    from orchestrator.manifest import open_manifest  # noqa: PLC0415

    if given.get("manifest"):
        return [entry.entry_id for entry in open_manifest(Path(given["manifest"])).entries()]
    state, name = _state(given), given.get("batch")

    async def read() -> list[str]:
        async with open_journal(state, clock=float) as journal:
            named = [batch for batch in await journal.batches() if name in {batch.name, batch.batch}]
            return [entry for batch in named for entry in sorted(await journal.entry_ids(batch.batch))]

    return run_async(read) if exists(state) else []
