"""The command line's structure: lookup of commands by name, suggestions for wrong names, and the layout of help."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from orchestrator.cli import commands
from orchestrator.cli.commands import ALIASES, SUMMARIES
from orchestrator.domain.errors import UsageError

PROGRAM = "orchestrator"
#: Titles of option groups in help: a command's own options come first, those of every command last.
OWN, CONTENT, SERVICE, TRANSFER, OUTPUT = "Options", "What is sent", "Service", "Transfer", "Output"
_ARGUMENTS = "Arguments"
#: Options of every command.
_COMMON = frozenset({"json", "config", "help"})
#: Help is as wide as the terminal, up to the width at which lines become hard to read.
_WIDEST_COLUMNS = 120
_SETTINGS = {
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST_COLUMNS},
}


class PanelCommand(TyperCommand):
    """A command whose help groups the options by topic."""

    # The parameters are Any because the module of typer's contexts and formatters is private.
    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(panel_of(parameter), []).append(record)
        for title in (_ARGUMENTS, OWN, CONTENT, SERVICE, TRANSFER, OUTPUT):
            if title in panels:
                with formatter.section(title):
                    formatter.write_dl(panels[title])


def panel_of(parameter: Any) -> str:
    """Return the title under which help shows *parameter*."""
    if parameter.param_type_name == "argument":
        return _ARGUMENTS
    return OUTPUT if parameter.name in _COMMON else parameter.rich_help_panel or OWN


class Program(TyperGroup):
    """The group of all commands; each is loaded on demand, since loading all takes longer than running most."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the command names, in the order of a working day."""
        del ctx
        return list(SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name or alias; raises UsageError with the nearest name for an unknown one."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name in SUMMARIES and name not in self.commands:
            command = getattr(import_module(f"{commands.__name__}.{name}"), name)
            if isinstance(command, typer.Typer):
                self.commands[name] = typer.main.get_group(command)
            else:
                app = typer.Typer(add_completion=False, **_SETTINGS)  # type: ignore[arg-type]  # a table of keywords
                app.command(name, cls=PanelCommand)(command)
                self.commands[name] = typer.main.get_command(app)
        if name in SUMMARIES or ctx.resilient_parsing or name.startswith("-"):
            return self.commands.get(name)
        nearest = get_close_matches(name, [*SUMMARIES, *ALIASES], n=1)
        raise UsageError(
            f"no such command: {name}{f'; did you mean {nearest[0]}?' if nearest else ''}",
            hint="`orchestrator --help` lists the commands",
        )

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the summary of each command without loading it."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Treat `help COMMAND` as `COMMAND --help`, like git."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)


def program(callback: Any) -> Any:
    """Return the command line; *callback* runs before every command, and alone if none is named."""
    app = typer.Typer(name=PROGRAM, cls=Program, pretty_exceptions_enable=False, **_SETTINGS)  # type: ignore[arg-type]
    app.callback(invoke_without_command=True)(callback)
    return typer.main.get_command(app)
