"""`orchestrator init`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.errors import UsageError
from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.output import SCHEMA
from orchestrator.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from typing import Literal

_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}


@takes_settings()
def init(
    invocation: Invocation,
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="Where to write it; .csv writes a table; default manifest.yaml.",
            show_default=False,
        ),
    ] = Path("manifest.yaml"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented manifest to start from.

    \b
    Examples:
      orchestrator init
      orchestrator init studio.yaml
      orchestrator init today.csv
    """
    kind = _SUFFIXES.get(manifest.suffix.lower())
    if kind is None:
        raise UsageError("the name of a manifest ends in .yaml, .yml or .csv")
    _write(manifest, "csv" if kind == "csv" else "yaml", is_forced=force)
    output = invocation.output
    if output.is_json:
        output.document({"schema": SCHEMA, "manifest": str(manifest)})
    output.say(f"wrote {manifest}; fill it in, then: orchestrator validate {quote(str(manifest))}")


def _write(path: Path, kind: Literal["yaml", "csv"], *, is_forced: bool) -> None:
    from orchestrator.manifest import starter_manifest  # noqa: PLC0415 - keeps --help quick
    from orchestrator.observe.streams import open_at_once  # noqa: PLC0415 - keeps --help quick

    try:
        with open(path, "w" if is_forced else "x", encoding="utf-8", opener=open_at_once) as file:
            file.write(starter_manifest(kind))
    except FileExistsError:
        raise UsageError(f"{path} already exists", hint="use --force to overwrite it") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
