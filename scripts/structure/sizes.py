"""Counts over one package: files, functions, prose and exceptions to rules, by the syntax tree alone."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
_BROAD = frozenset({"Exception", "BaseException"})


@dataclass(frozen=True)
class Source:
    """One module's text and what is read from it."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return self.text.count("\n")

    @cached_property
    def functions(self) -> list[Function]:
        """Every function, methods and inner functions too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        """Every class."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @cached_property
    def comments(self) -> list[str]:
        """Every comment, with directives to tools among them."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [token.string for token in tokens if token.type == tokenize.COMMENT]


def read_package(folder: Path) -> list[Source]:
    """Read every module below *folder*."""
    return [Source(path, path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))]


def table(sources: Sequence[Source]) -> dict[str, str]:
    """Return the measures by name, as they are printed."""
    rooms = [source for source in sources if source.path.name != "__init__.py"]
    lengths = [source.lines for source in sources]
    bodies = [body_lines(function) for source in sources for function in source.functions]
    arguments = [argument_count(function) for source in sources for function in source.functions]
    nesting = [depth(function) for source in sources for function in source.functions]
    private, once = private_functions(sources)
    small = sum(source.lines < 100 for source in rooms)
    total = sum(lengths)
    public = [function for source in sources for function in source.functions if is_public(function)]
    documented = sum(ast.get_docstring(function) is not None for function in public)
    classes = [each for source in sources for each in source.classes]
    return {
        "files / lines": f"{len(sources)} / {total:,}",
        "median / max file": f"{statistics.median(lengths):.0f} / {max(lengths)}",
        "files under 100 lines (without __init__)": f"{share(small, len(rooms))}",
        "functions: count; p50 / p95 / max lines": f"{len(bodies)}; {percentiles(bodies)}",
        "private functions; used exactly once": f"{private}; {share(once, private)}",
        "classes; with __init__ and one public method": f"{len(classes)}; {sum(map(is_one_method, classes))}",
        "arguments mean / p95 / max": f"{statistics.mean(arguments):.2f} / "
        f"{percentile(arguments, 95)} / {max(arguments)}",
        "nesting p95 / max": f"{percentile(nesting, 95)} / {max(nesting)}",
        "docstring lines; comment lines": f"{share(docstring_lines(sources), total)}; "
        f"{share(comment_lines(sources), total)}",
        "public functions with a docstring": share(documented, len(public)),
        "type: ignore / noqa / broad except": exceptions(sources),
    }


def body_lines(function: Function) -> int:
    """Lines from `def` to the end, without decorators and docstring."""
    documented = function.body[0] if ast.get_docstring(function) is not None else None
    prose = 0 if documented is None else (documented.end_lineno or 0) - documented.lineno + 1
    return (function.end_lineno or function.lineno) - function.lineno + 1 - prose


def argument_count(function: Function) -> int:
    """Parameters without self and cls."""
    given = function.args
    named = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return sum(name not in {"self", "cls"} for name in named)


def depth(node: ast.AST, level: int = 0) -> int:
    """How deep blocks stand in one another; an `elif` is no deeper than its `if`."""
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*_NESTING, ast.ExceptHandler)):
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
            is_clause = is_elif or isinstance(child, ast.ExceptHandler)
            deepest = max(deepest, depth(child, level if is_clause else level + 1))
        elif not isinstance(child, (*_functions(), ast.ClassDef)):
            deepest = max(deepest, depth(child, level))
    return deepest


def _functions() -> tuple[type[ast.AST], ...]:
    return (ast.FunctionDef, ast.AsyncFunctionDef)


def private_functions(sources: Iterable[Source]) -> tuple[int, int]:
    """Count functions named `_name`, and those whose name stands in exactly one other place of their file."""
    total = once = 0
    for source in sources:
        used = Counter(re.findall(r"\b_[A-Za-z]\w*", source.text))
        names = [function.name for function in source.functions if is_private(function.name)]
        total += len(names)
        once += sum(used[name] == 2 for name in names)
    return total, once


def is_private(name: str) -> bool:
    """True for `_name`, not for `__name__`."""
    return name.startswith("_") and not name.startswith("__")


def is_public(function: Function) -> bool:
    """True for a name without an underscore in front."""
    return not function.name.startswith("_")


def is_one_method(node: ast.ClassDef) -> bool:
    """True for a class of `__init__` and one public method: a function in disguise."""
    names = [each.name for each in node.body if isinstance(each, Function)]
    return "__init__" in names and sum(not name.startswith("_") for name in names) == 1


def docstring_lines(sources: Iterable[Source]) -> int:
    """Lines of all docstrings."""
    total = 0
    for source in sources:
        for node in (source.tree, *source.functions, *source.classes):
            text = ast.get_docstring(node, clean=False)
            total += 0 if text is None else text.count("\n") + 1
    return total


def comment_lines(sources: Iterable[Source]) -> int:
    """Comments that speak to a reader: directives to tools are none."""
    return sum(
        not re.match(r"#\s*(noqa|type:)|#!", comment) for source in sources for comment in source.comments
    )


def exceptions(sources: Sequence[Source]) -> str:
    """Count the exceptions from rules: `type: ignore`, `noqa`, and handlers that take every exception."""
    ignored = sum("type: ignore" in comment for source in sources for comment in source.comments)
    unchecked = sum("noqa" in comment for source in sources for comment in source.comments)
    broad = sum(
        isinstance(node, ast.ExceptHandler) and (node.type is None or _name(node.type) in _BROAD)
        for source in sources
        for node in ast.walk(source.tree)
    )
    return f"{ignored} / {unchecked} / {broad}"


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def share(count: int, total: int) -> str:
    """A share in per cent, with one digit."""
    return f"{100 * count / max(total, 1):.1f} %"


def percentile(values: Sequence[int], rank: int) -> int:
    """The value that *rank* per cent of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * rank // 100, len(ordered) - 1)]


def percentiles(values: Sequence[int]) -> str:
    """Median, 95th percentile and maximum."""
    return f"{percentile(values, 50)} / {percentile(values, 95)} / {max(values)}"


def long_functions(sources: Iterable[Source], limit: int) -> Iterator[str]:
    """Name the functions of more than *limit* lines."""
    for source in sources:
        for function in source.functions:
            if body_lines(function) > limit:
                yield f"{source.path}:{function.lineno} {function.name} {body_lines(function)}"
