"""One call of one command: what several or all of them take, and the settings that their options stand for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.api.options import (
    CALL_OPTIONS,
    OUTPUT_OPTIONS,
    RUN_OPTIONS,
    RUN_TELLING_OPTIONS,
    SERVICE_OPTIONS,
    SettingOption,
)
from orchestrator.cli.completion import batch_names, entry_ids, values_of
from orchestrator.cli.help import CONTENT, OUTPUT, SERVICE, TRANSFER
from orchestrator.cli.output import Output
from orchestrator.domain.errors import UsageError
from orchestrator.domain.quantities import parse_duration

if TYPE_CHECKING:
    from orchestrator.api.settings import EffectiveSettings

Command = Callable[..., int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What every command works with: where it prints, and the flags that were given."""

    output: Output
    flags: Mapping[str, str | bool | list[str]]
    config: Path | None

    @property
    def is_json(self) -> bool:
        """True when the result is to be one JSON document."""
        return self.output.is_json

    def settings(self, beside: Path | None = None) -> EffectiveSettings:
        """The effective settings; *beside* is the manifest whose folder may hold an orchestrator.toml.

        Raises UsageError for a wrong flag, ConfigurationError for a wrong value from elsewhere.
        """
        from orchestrator.api.settings import load_settings  # noqa: PLC0415 - only when the command runs

        load = partial(load_settings, flags=self.flags, config=self.config, beside=beside)
        found = replace(load(), reread=load, is_watched=sys.stderr.isatty())
        self.output.is_quiet, self.output.is_verbose = found.values.quiet, found.values.verbose
        self.output.log_file = found.values.log_file
        return found


def takes_settings(
    *groups: Iterable[SettingOption], unused: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the options of *groups* next to its own; it gets them through its first argument.

    It takes those named in *unused* too, so that one set of options fits all, but its help does not show them.
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
        # Python wants positional parameters before keywords.
        parameters.sort(key=lambda parameter: parameter.kind)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        return command

    return decorate


def setting_parameter(option: SettingOption, *, is_shown: bool = True) -> inspect.Parameter:
    """The parameter that makes typer offer *option*, in help where it *is_shown*; None stands for not given."""
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
    """Where help shows it: for a person, what calls cost and how long an outage is waited for is the service's."""
    if option in SERVICE_OPTIONS or option in CALL_OPTIONS:
        return SERVICE
    if option in OUTPUT_OPTIONS or option in RUN_TELLING_OPTIONS:
        return OUTPUT
    is_about_transfer = option in RUN_OPTIONS and option.name != "submit_anyway"
    return TRANSFER if is_about_transfer else CONTENT


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


def seconds_of(option: str, text: str | None) -> float | None:
    """The time given with *option*, such as 30d or 90s, in seconds; raises UsageError."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
