"""`orchestrator enqueue`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import (
    BatchName,
    Defaults,
    EntryPatterns,
    Invocation,
    ManifestPath,
    defaults_of,
    takes_settings,
)
from orchestrator.settings.options import (
    ENQUEUE_OPTIONS,
    EVENTS_OPTIONS,
    MANIFEST_OPTIONS,
    NOTIFY_OPTIONS,
    SERVICE_OPTIONS,
)


@takes_settings(SERVICE_OPTIONS, ENQUEUE_OPTIONS, MANIFEST_OPTIONS, EVENTS_OPTIONS, NOTIFY_OPTIONS)
def enqueue(
    invocation: Invocation,
    manifest: ManifestPath,
    *,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until workers have finished, and exit with the codes of `run`"),
    ] = False,
    batch_name: BatchName = None,
    default: Defaults = None,
    entry: EntryPatterns = None,
) -> int:
    """Queue a manifest's avatars for workers on several hosts.

    Checks the manifest and brings the journal in line with it, as `run` does, but sends nothing: workers
    (`orchestrator work`) upload what is queued. Run it again to queue what failed. An entry is queued once,
    however often this is called. The part size, what to do about changes, existing jobs and expired URLs, and how
    uploads are verified are kept with the batch, and every worker goes by them. Needs a journal in PostgreSQL that
    `orchestrator fleet install` has prepared.

    \b
    Examples:
      orchestrator enqueue studio.yaml
      orchestrator enqueue studio.yaml --wait     from cron or another scheduler
      orchestrator enqueue studio.yaml --json     counts, as one JSON document
    """
    from orchestrator.api.checking import ManifestRequest  # noqa: PLC0415 - keeps --help quick
    from orchestrator.cli.work.enqueue import enqueue_manifest  # noqa: PLC0415

    request = ManifestRequest(
        path=manifest, batch_name=batch_name, defaults=defaults_of(default), patterns=entry or ()
    )
    return enqueue_manifest(invocation, request, is_waiting=wait)
