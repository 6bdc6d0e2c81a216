"""docs/reference.md: every command with its help and options, and every setting once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from orchestrator.cli.help import PROGRAM
from orchestrator.cli.main import application
from orchestrator.settings.options import ALL_OPTIONS, OUTPUT_OPTIONS, SettingOption

_HEAD = """\
# Reference

Made from the commands' help by `scripts/write-pages`; a test keeps it so. How settings combine, and
how they are written in a file: [settings.md](settings.md). What the commands are for, task by task:
[usage.md](usage.md).

"""
_SETTINGS_HEAD = """\
## Settings

Every option here is a setting: a flag, a variable and a key of the config files.

| flag | environment | default | | commands |
|---|---|---|---|---|
"""
_SETTINGS = {option.name: option for option in ALL_OPTIONS}
#: Every command has them, so that naming the commands says nothing.
_EVERYWHERE = {"json", "config", "help"}


def reference_page() -> str:
    """The page, ending in a line break."""
    commands = dict(all_commands())
    parts = [_HEAD, "## Commands\n\n| command | does |\n|---|---|\n"]
    parts += [
        f"| [`{name}`](#{_anchor(name)}) | {_summary(command)} |\n" for name, command in commands.items()
    ]
    parts += [_section(name, command) for name, command in commands.items()]
    parts += ["\n", _SETTINGS_HEAD, *(_setting_row(option, commands) for option in ALL_OPTIONS)]
    parts.append(
        "\nEvery command also has `--json` (`ORCHESTRATOR_JSON`), which prints one JSON document on stdout, and\n"
        "`--config FILE` (`ORCHESTRATOR_CONFIG`), a TOML file with settings.\n"
    )
    return "".join(parts)


def all_commands() -> Iterator[tuple[str, Any]]:
    """Every command that help shows, those of groups under their full name."""
    root: Any = application()
    context = root.make_context(PROGRAM, [], resilient_parsing=True)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        inner = getattr(command, "commands", None) or {}
        for below in inner.values():
            yield f"{name} {below.name}", below
        if not inner and not command.hidden:
            yield name, command


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _summary(command: Any) -> str:
    """The first paragraph of the help, on one line."""
    return _cell(inspect.cleandoc(command.help).split("\n\n")[0].removesuffix("."))


def _section(name: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if not parameter.hidden]
    own = [parameter for parameter in shown if not _is_setting(parameter)]
    rows = [_own_row(parameter) for parameter in own if parameter.name not in _EVERYWHERE]
    settings = [
        f"`{max(parameter.opts, key=len)}`"
        for parameter in shown
        if _is_setting(parameter) and _SETTINGS[parameter.name] not in OUTPUT_OPTIONS
    ]
    table = "\n| | |\n|---|---|\n" + "".join(rows) if rows else ""
    taken = (
        f"\n[Settings](#settings): {', '.join(settings)}, and those of every command.\n" if settings else ""
    )
    return f"\n### {name}\n\n```text\n{_usage(name, own)}\n\n{_help_text(command)}\n```\n{table}{taken}"


def _is_setting(parameter: Any) -> bool:
    """Whether it stands for a setting; `simulate` has options of the same names that do not."""
    option = _SETTINGS.get(parameter.name)
    return option is not None and option.variable in (parameter.help or "")


def _usage(name: str, own: list[Any]) -> str:
    arguments = (
        parameter.metavar if parameter.required else f"[{parameter.metavar}]"
        for parameter in own
        if parameter.param_type_name == "argument"
    )
    return " ".join([PROGRAM, name, *arguments])


def _help_text(command: Any) -> str:
    """The help as the program has it; a line of \\b only says that the paragraph is not to be wrapped."""
    return "\n".join(line for line in inspect.cleandoc(command.help).splitlines() if line.strip() != "\b")


def _own_row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        spelling = f"`{parameter.metavar}`"
    else:
        value = f" {parameter.metavar}" if parameter.metavar else ""
        spelling = ", ".join(f"`{flag}{value}`" for flag in (*parameter.opts, *parameter.secondary_opts))
    has_default = parameter.show_default and not getattr(parameter, "is_flag", True)
    default = f" (default {parameter.default})" if has_default and parameter.default is not None else ""
    return f"| {_cell(spelling)} | {_cell(parameter.help or '').removesuffix('.')}{default} |\n"


def _setting_row(option: SettingOption, commands: dict[str, Any]) -> str:
    having = [
        name
        for name, command in commands.items()
        if any(
            _is_setting(parameter) and parameter.name == option.name and not parameter.hidden
            for parameter in command.params
        )
    ]
    where = "every command" if len(having) == len(commands) else ", ".join(having)
    spellings = [spelling for flag in option.flags for spelling in flag.split("/")]
    value = f" {option.metavar}" if option.metavar else ""
    flags = ", ".join(f"`{_cell(spelling + value)}`" for spelling in sorted(spellings, key=len))
    return f"| {flags} | `{option.variable}` | {option.shown_default} | {_cell(option.summary)} | {where} |\n"


def _cell(text: str) -> str:
    """*text* in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
