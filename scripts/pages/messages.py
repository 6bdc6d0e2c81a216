"""docs/messages.md: every error the program can end with, from the calls that make them.

A value in a message stands as the upper-case name that the code has for it; `...` where it has none.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import orchestrator
from orchestrator.domain.errors import OrchestratorError, exit_code_of

_SOURCE = Path(orchestrator.__file__).parent
_HEAD = """\
# Messages

Made from the program's own code by `scripts/write-pages`; a test keeps it so. Upper-case words stand for
values. `kind` is that of the [JSON documents](json.md); the exit code is that of a command which ends with
the message. An entry that fails with it ends a run with 8 instead, or with 5 or 9 where all failures say
"later" or "decide" ([exit codes](running.md#exit-codes)). Errors of a manifest are rules, and
`orchestrator explain` knows them: [rules.md](rules.md).
"""
#: The simulator's messages are those of a service.
_ROOMS_LEFT_OUT = {"simulator"}
#: A run acts on these itself and ends with none of them.
_KINDS_LEFT_OUT = {"stale_epoch", "stopped", "url_expired", "upload_refused"}
#: What to do where a message has no hint of its own; a new kind needs a sentence here.
_ADVICE = {
    "internal": "A bug: run again with `-v --log-file FILE` and report what it keeps.",
    "usage": "Change the command line; `orchestrator COMMAND --help` shows what it takes.",
    "manifest": "Fix the manifest; nothing was sent.",
    "configuration": "Fix the setting that is named; `orchestrator config show` shows where each comes from.",
    "credentials": "Check the keys; `orchestrator doctor` shows which are used.",
    "journal": "See [moving or losing the journal](runbooks/journal.md).",
    "integrity": "Nothing: the segment is sent again, a few times.",
    "interrupted": "Nothing: the request is repeated, a few times; then run again later.",
    "temporary": "Run again later.",
    "throttled": "Nothing: the run waits and goes slower.",
    "unreachable": "Nothing within `--max-outage`: the run waits; then run again later.",
    "limit": "Run again to do the rest.",
    "locked": "Wait for the other run.",
    "refused": "Put the account in order, then run again.",
    "entry": "See `orchestrator status BATCH --entry ID`, then run again.",
    "rejected": "The service or the store said no to this entry, in its own words.",
    "command_failed": "The service said no to this entry, in its own words.",
    "source_changed": "Leave the footage alone while it is sent, then run again.",
    "parked": "No worker of a fleet can go on: see [several hosts](fleet.md), then `retry` the entry.",
    "decision_needed": "Decide; nothing was changed. See [exit codes](runbooks/exit-codes.md).",
}


@dataclass(frozen=True, order=True)
class Message:
    """One text that an error can have, and what it advises."""

    text: str
    hint: str


def messages_page() -> str:
    """The page, ending in a line break."""
    by_kind: dict[tuple[int, str], set[Message]] = defaultdict(set)
    for path in sorted(_SOURCE.rglob("*.py")):
        if path.relative_to(_SOURCE).parts[0] not in _ROOMS_LEFT_OUT:
            for error, message in _messages(path):
                if error.kind not in _KINDS_LEFT_OUT:
                    by_kind[int(exit_code_of(error("?"))), error.kind].add(message)
    parts = [_HEAD]
    for (exit_code, kind), messages in sorted(by_kind.items()):
        parts.append(
            f"\n## {kind}: exit code {exit_code}\n\n{_ADVICE[kind]}\n\n| message | hint |\n|---|---|\n"
        )
        parts += [f"| {_cell(message.text)} | {_cell(message.hint)} |\n" for message in sorted(messages)]
    return "".join(parts)


def _messages(path: Path) -> Iterator[tuple[type[OrchestratorError], Message]]:
    """The errors that a module makes with texts of its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = dict(_constants(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (made := _made_by(node)):
            error, text = made
            hints = [word.value for word in node.keywords if word.arg == "hint"]
            for told in _texts(text, constants):
                for hint in list(_texts(hints[0], constants)) if hints else [""]:
                    yield error, Message(told, hint)


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The names that the module gives to values, also several at once."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for target, value in zip(names, values, strict=True):
                    if isinstance(target, ast.Name):
                        yield target.id, value


def _made_by(call: ast.Call) -> tuple[type[OrchestratorError], ast.expr] | None:
    """The class of the error and its text: of a call of the class, or of `restated`, which is given one."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    arguments = list(call.args)
    if name == "restated" and arguments:
        name = getattr(arguments.pop(0), "id", "")
    error = _errors().get(name)
    return (error, arguments[0]) if error and arguments else None


def _texts(node: ast.expr, constants: Mapping[str, ast.expr]) -> Iterator[str]:
    """What the expression can be, where that is written here; a value from elsewhere is not."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(_part(part, constants) for part in parts)
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, constants)
            yield from _texts(other, constants)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value, constants)
        case ast.Name(id=name) if name in constants:
            yield from _texts(constants[name], constants)
        case _:
            return


def _part(part: ast.expr, constants: Mapping[str, ast.expr]) -> str:
    match part:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=ast.Name(id=name)) if isinstance(constants.get(name), ast.Constant):
            return next(_texts(constants[name], constants), name)
        case ast.FormattedValue(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.strip("_").upper()
        case _:
            return "..."


@cache
def _errors() -> Mapping[str, type[OrchestratorError]]:
    """The classes of errors by name, wherever they are defined."""
    for path in _SOURCE.rglob("*.py"):
        if "Error):" in path.read_text(encoding="utf-8"):
            import_module(".".join(path.relative_to(_SOURCE.parent).with_suffix("").parts))
    found: dict[str, type[OrchestratorError]] = {}
    waiting = [OrchestratorError]
    while waiting:
        error = waiting.pop()
        found[error.__name__] = error
        waiting += error.__subclasses__()
    return found


def _cell(text: str) -> str:
    """*text* in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
