"""One call of a command: the shared arguments and options, the options for settings, and shell completion.

Completion shows nothing on errors: a missing journal, an unreadable manifest, an invalid setting.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.help import CONTENT, OUTPUT, SERVICE, TRANSFER
from orchestrator.cli.output import Output
from orchestrator.domain.errors import OrchestratorError, UsageError
from orchestrator.domain.quantities import parse_duration
from orchestrator.settings.options import (
    CALL_OPTIONS,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    RUN_REPORTING_OPTIONS,
    SERVICE_OPTIONS,
    SettingOption,
)

if TYPE_CHECKING:
    from orchestrator.settings.sources import EffectiveSettings

Command = Callable[..., int | None]
Completed = Callable[[typer.Context, str], list[str]]
#: More choices are of no help; a manifest may have fifty thousand entries.
_MOST_CHOICES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The context of every command: its output, and the flags that were given."""

    output: Output
    flags: Mapping[str, str | bool | list[str]]
    config: Path | None

    @property
    def is_json(self) -> bool:
        """True when the result is one JSON document."""
        return self.output.is_json

    def settings(self, beside: Path | None = None) -> EffectiveSettings:
        """The effective settings; *beside* is the manifest whose folder may hold an orchestrator.toml.

        Raises UsageError for a wrong flag, ConfigurationError for a wrong value from elsewhere.
        """
        from orchestrator.settings.sources import load_settings  # noqa: PLC0415 - only when the command runs

        load = partial(load_settings, flags=self.flags, config=self.config, beside=beside)
        found = replace(load(), reread=load, is_interactive=sys.stderr.isatty())
        self.output.is_quiet, self.output.is_verbose = found.values.quiet, found.values.verbose
        self.output.log_file = found.values.log_file
        return found


def takes_settings(
    *groups: Iterable[SettingOption], unused: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the options of *groups* next to its own; it gets them through its first argument.

    Options named in *unused* are accepted too, so that one set of options fits all commands, but help hides them.
    """
    options = [option for group in (*groups, OUTPUT_OPTIONS) for option in group]

    def offered(option: SettingOption) -> inspect.Parameter:
        return setting_parameter(option, is_shown=option.name not in unused)

    def decorate(function: Command) -> Command:
        def command(context: typer.Context, **given: Any) -> int | None:
            flags = {option.name: given.pop(option.name) for option in options}
            output: Output = context.obj
            output.is_json = given.pop("json")
            return function(
                Invocation(
                    output=output,
                    flags={name: value for name, value in flags.items() if value not in (None, [])},
                    config=given.pop("config"),
                ),
                **given,
            )

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        parameters = [_CONTEXT, *own, *map(offered, options), *_COMMON]
        # Positional parameters must come before keywords.
        parameters.sort(key=lambda parameter: parameter.kind)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        return command

    return decorate


def setting_parameter(option: SettingOption, *, is_shown: bool = True) -> inspect.Parameter:
    """Return the parameter for typer that stands for *option*, hidden from help unless *is_shown*.

    Its value is None if the option is not given.
    """
    default = f"; default {option.shown_default}" if option.shown_default else ""
    typed = typer.Option(
        *option.flags,
        help=f"{option.summary} (env {option.variable}{default})",
        metavar=option.metavar,
        show_default=False,
        hidden=not is_shown,
        rich_help_panel=_panel_of(option),
        autocompletion=values_of(option.metavar),
    )
    kind: Any = bool | None if option.metavar is None else list[str] | None if option.is_list else str | None
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, typed]
    )


def _panel_of(option: SettingOption) -> str:
    """Return the help panel of *option*; for users, call rates and waiting for outages belong to the service."""
    if option in SERVICE_OPTIONS or option in CALL_OPTIONS:
        return SERVICE
    if option in OUTPUT_OPTIONS or option in RUN_REPORTING_OPTIONS:
        return OUTPUT
    is_about_transfer = option in RUN_OPTIONS and option.name != "submit_anyway"
    return TRANSFER if is_about_transfer else CONTENT


def seconds_of(option: str, text: str | None) -> float | None:
    """Return the duration given with *option*, such as 30d or 90s, in seconds; raises UsageError."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def defaults_of(texts: Iterable[str] | None) -> dict[str, str]:
    """Return the fields given with --default as `field=value`; raises UsageError."""
    defaults = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise UsageError(
                "--default takes field=value", hint="for example --default contact=ops@example.com"
            )
        defaults[name.strip()] = value
    return defaults


def values_of(metavar: str | None) -> Completed | None:
    """Return the completion for a metavar such as `auto|bar|plain`; None if it lists no values."""
    values = [value for value in (metavar or "").split("|") if value.islower()]
    if len(values) < 2:
        return None

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        del context
        return [value for value in values if value.startswith(incomplete)]

    return complete


def batch_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the batch names of the journal, the latest first."""
    return _choices(context, incomplete, _read_batches)


def entry_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return the entry ids of the manifest or batch on the command line."""
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
    """Return the parameters given before the completed word.

    An option without its value ends the whole parsing, so the words before it are parsed again.
    """
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        words = shlex.split(line)[2:]
    except ValueError:  # an unclosed quotation mark
        words = line.split()[2:]
    before = words[:-1] if words and words[-1] == incomplete else words
    while before and before[-1].startswith("-"):
        before = before[:-1]
    parsed = context.command.make_context(context.info_name, list(before), resilient_parsing=True)
    return {name: value for name, value in (context.params | parsed.params).items() if value}


def _state(given: dict[str, Any]) -> str:
    from orchestrator.settings.sources import load_settings  # noqa: PLC0415 - only when a shell asks

    flags = {"state": given["state"]} if given.get("state") else {}
    return load_settings(flags=flags, config=given.get("config"), beside=None).values.state


def _read_batches(given: dict[str, Any]) -> list[str]:
    from orchestrator.cli.process import run_async  # noqa: PLC0415 - only when a shell asks
    from orchestrator.journal.journal import exists, open_journal  # noqa: PLC0415

    state = _state(given)

    async def read() -> list[str]:
        async with open_journal(state, clock=time.time) as journal:
            return [batch.name for batch in await journal.batches()]

    return list(dict.fromkeys(run_async(read))) if exists(state) else []


def _read_entries(given: dict[str, Any]) -> list[str]:
    from orchestrator.cli.process import run_async  # noqa: PLC0415 - only when a shell asks
    from orchestrator.journal.journal import exists, open_journal  # noqa: PLC0415
    from orchestrator.manifest import open_manifest  # noqa: PLC0415

    if given.get("manifest"):
        return [entry.entry_id for entry in open_manifest(Path(given["manifest"])).entries()]
    state = _state(given)

    async def read() -> list[str]:
        async with open_journal(state, clock=time.time) as journal:
            named = await journal.batches_named(given.get("batch", ""), or_digest=True)
            return [entry for batch in named for entry in sorted(await journal.entry_ids(batch.batch))]

    return run_async(read) if exists(state) else []


_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
_COMMON = (
    inspect.Parameter(
        "json",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[
            bool,
            typer.Option(
                "--json",
                help="Print one JSON document on stdout (env ORCHESTRATOR_JSON)",
                envvar="ORCHESTRATOR_JSON",
                show_envvar=False,
            ),
        ],
    ),
    inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help="A TOML file with settings (env ORCHESTRATOR_CONFIG)",
                envvar="ORCHESTRATOR_CONFIG",
                show_envvar=False,
            ),
        ],
    ),
)

ManifestPath = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST", help="The manifest: a .yaml, .csv or .xlsx file.", show_default=False),
]
BatchName = Annotated[
    str | None,
    typer.Option(
        "--batch-name",
        metavar="NAME",
        help="Batch name; overrides the manifest (env ORCHESTRATOR_BATCH_NAME; default the file's name)",
        envvar="ORCHESTRATOR_BATCH_NAME",
        show_envvar=False,
    ),
]
Defaults = Annotated[
    list[str] | None,
    typer.Option(
        "--default",
        metavar="FIELD=VALUE",
        help="Value of a field for avatars that do not set it; may be repeated",
    ),
]
EntryPatterns = Annotated[
    list[str] | None,
    typer.Option(
        "--entry",
        metavar="PATTERN",
        help="Only entries with this ID, or that fit a glob such as 'av1*'; may be repeated",
        show_default=False,
        autocompletion=entry_ids,
    ),
]
BatchArgument = Annotated[
    str,
    typer.Argument(
        metavar="BATCH",
        help="The name of a batch, or its digest.",
        show_default=False,
        autocompletion=batch_names,
    ),
]
Agreed = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; required without a terminal")
]
