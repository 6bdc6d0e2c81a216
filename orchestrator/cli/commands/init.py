"""`orchestrator init`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.output import SCHEMA
from orchestrator.domain.errors import UsageError

_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}

NewManifest = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="Where to write it; .csv writes a table; default manifest.yaml.",
        show_default=False,
    ),
]


@takes_settings(unused=("state", "progress", "log_max_size"))
def init(
    invocation: Invocation,
    manifest: NewManifest = Path("manifest.yaml"),
    *,
    scan: Annotated[
        Path | None,
        typer.Option(
            "--scan",
            metavar="FOLDER",
            help="Fill it with the avatars that the names of files in FOLDER show",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="DIR",
            help="Write sample.yaml with small real footage into DIR, to try everything with",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented manifest to start from.

    With --scan, from the names in a folder: what was guessed is shown, and what could be read in two ways is
    left as a comment. Nothing is sent.

    \b
    Examples:
      orchestrator init
      orchestrator init studio.yaml
      orchestrator init today.csv
      orchestrator init studio.yaml --scan handover
      orchestrator init --sample rehearsal
    """
    if scan is not None and sample is not None:
        raise UsageError("--scan and --sample are two ways to fill a manifest", hint="give one of them")
    kind = _SUFFIXES.get(manifest.suffix.lower())
    if kind is None or (kind == "csv" and scan is not None):
        raise UsageError(f"the name of a manifest ends in .yaml{'' if scan else ', .yml or .csv'}")
    from orchestrator.cli.work.init import (  # noqa: PLC0415 - keeps --help quick
        scan_to_manifest,
        write_new,
        write_sample,
    )

    output = invocation.output
    if sample is not None:
        return write_sample(output, sample, is_forced=force)
    if scan is not None:
        return scan_to_manifest(output, manifest, scan, is_forced=force)
    from orchestrator.manifest.schema import starter_manifest  # noqa: PLC0415 - keeps --help quick

    write_new(manifest, starter_manifest("csv" if kind == "csv" else "yaml"), is_forced=force)
    if output.is_json:
        output.document({"schema": SCHEMA, "manifest": str(manifest)})
    return output.say(f"wrote {manifest}; fill it in, then: orchestrator validate {quote(str(manifest))}")
