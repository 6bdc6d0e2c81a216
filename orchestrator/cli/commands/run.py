"""`orchestrator run`."""

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
    MANIFEST_OPTIONS,
    PLAN_OPTIONS,
    RUN_OPTIONS,
    RUN_REPORTING_OPTIONS,
    SERVICE_OPTIONS,
)


@takes_settings(SERVICE_OPTIONS, RUN_OPTIONS, PLAN_OPTIONS, MANIFEST_OPTIONS, RUN_REPORTING_OPTIONS)
def run(
    invocation: Invocation,
    manifest: ManifestPath,
    *,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only show what would happen, like `plan` (env ORCHESTRATOR_DRY_RUN)",
            envvar="ORCHESTRATOR_DRY_RUN",
            show_envvar=False,
        ),
    ] = False,
    batch_name: BatchName = None,
    default: Defaults = None,
    entry: EntryPatterns = None,
) -> int:
    """Upload a manifest's avatars to MetaStudio.

    Uploads every avatar and confirms its job. Run it again to continue: finished work is not repeated. Nothing
    is sent unless the whole manifest is valid. Safe to stop at any moment and to start from cron.
    `upload` and `resume` are other names of this command.

    \b
    Examples:
      orchestrator run studio.yaml --region cn-north-4
      orchestrator run studio.yaml -j 10 -p 64 --log-file run.log
      orchestrator run today.csv --batch-name monday --default tags=studio
      orchestrator run studio.yaml --entry 'av1*' --skip-invalid
      orchestrator run studio.yaml --submit      also send the jobs to review
      orchestrator run studio.yaml --json        one JSON document on stdout

    \b
    Exit codes:
      0  all done, or nothing to do       5  temporary: run again later
      2  usage                           6  another run works on the batch
      3  manifest invalid, nothing sent  7  the service refuses for good
      4  credentials or configuration    8  some entries failed
      9  needs a decision, named in the output
      130, 143  stopped by a signal, state saved
    """
    from orchestrator.api.checking import ManifestRequest  # noqa: PLC0415 - keeps --help quick

    request = ManifestRequest(
        path=manifest, batch_name=batch_name, defaults=defaults_of(default), patterns=entry or ()
    )
    if dry_run:
        from orchestrator.cli.work.plan import plan_manifest  # noqa: PLC0415

        return plan_manifest(invocation, request, rate=None)
    from orchestrator.cli.work.run import run_manifest  # noqa: PLC0415

    return run_manifest(invocation, request)
