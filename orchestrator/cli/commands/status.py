"""`orchestrator status`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, batch_names, entry_ids, takes_settings
from orchestrator.domain.errors import UsageError
from orchestrator.domain.states import EntryState
from orchestrator.settings.options import SERVICE_OPTIONS

_FAILED = (EntryState.FAILED, EntryState.REVIEW_FAILED)

Reviews = Annotated[
    bool,
    typer.Option(
        "--reviews",
        help="Show the reasons of failed reviews in all batches, grouped, with the rule for each.",
    ),
]
Runs = Annotated[
    bool,
    typer.Option("--runs", help="Show the batch's runs: when, for how long, exit code, counts, process."),
]
OneBatch = Annotated[
    str | None,
    typer.Argument(
        metavar="BATCH",
        help="The name of a batch, or its digest, for its entries.",
        show_default=False,
        autocompletion=batch_names,
    ),
]
OfEntries = Annotated[
    list[str] | None,
    typer.Option(
        "--entry",
        metavar="PATTERN",
        help="Only entries with this ID, or that fit a glob such as 'av1*'; may be repeated. A single ID without"
        " a glob shows the entry in full: files, transitions, failed attempts.",
        show_default=False,
        autocompletion=entry_ids,
    ),
]


@takes_settings(SERVICE_OPTIONS, unused=("insecure_http", "progress", "log_max_size"))
def status(
    invocation: Invocation,
    batch: OneBatch = None,
    *,
    every: Annotated[
        bool,
        typer.Option("--all", help="Show every entry; otherwise long lists are cut, but not with --json."),
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Show the counts, but no table.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only entries that failed, or whose review did.")
    ] = False,
    in_state: Annotated[
        list[EntryState] | None,
        typer.Option("--in-state", metavar="STATE", help="Only entries in this state; may be repeated."),
    ] = None,
    runs: Runs = False,
    reviews: Reviews = False,
    entry: OfEntries = None,
) -> int:
    """Show the batches, or the entries of one.

    State, size, job and last error from the journal; needs neither network nor credentials.
    `list`, `jobs` and `show` are other names of this command.

    \b
    Examples:
      orchestrator status
      orchestrator status studio-2026-11
      orchestrator status studio-2026-11 --failed
      orchestrator status studio-2026-11 --entry anna     one in full
      orchestrator status studio-2026-11 --entry 'av1*'   a list of those
      orchestrator status studio-2026-11 --runs
      orchestrator status studio-2026-11 --json
      orchestrator status --reviews
    """
    from orchestrator.cli.work.status import show_batch, show_batches  # noqa: PLC0415 - keeps --help quick

    if reviews:
        from orchestrator.cli.work.status import show_reviews  # noqa: PLC0415 - as above

        if batch or failed or in_state or entry or runs:
            raise UsageError("--reviews covers all batches and cannot be combined with other arguments")
        return show_reviews(invocation)
    states = {*(in_state or ()), *(_FAILED if failed else ())} or None
    has_states, has_entry = states is not None, entry is not None
    if batch is None and (has_states or has_entry or runs):
        raise UsageError("--failed, --in-state, --entry and --runs need the name of a batch")
    if summary and (every or entry):
        raise UsageError("--summary shows no entries and cannot be combined with --all or --entry")
    if runs and (has_states or has_entry):
        raise UsageError("--runs cannot be combined with --failed, --in-state or --entry")
    if batch is None:
        return show_batches(invocation)
    if runs:
        from orchestrator.cli.work.batches import show_runs  # noqa: PLC0415 - as above

        return show_runs(invocation, batch, is_all_wanted=every)
    return show_batch(
        invocation, batch, is_all_wanted=every, is_table_wanted=not summary, states=states, patterns=entry
    )
