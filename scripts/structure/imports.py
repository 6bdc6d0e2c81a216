"""Who imports whom inside the package: circles, upward imports, and the longest chain inside a room."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from structure.sizes import Source

Graph = Mapping[str, frozenset[str]]


def module_name(path: Path, root: Path) -> str:
    """The dotted name of the module at *path* below *root*, the folder of the package's parent."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def graph_of(sources: Sequence[Source], root: Path) -> Graph:
    """Each module's imports of other modules of the package, those for type checkers left out."""
    names = {module_name(source.path, root) for source in sources}
    return {
        module_name(source.path, root): frozenset(
            found
            for name in imported_names(source.tree)
            if (found := nearest(name, names)) and found != module_name(source.path, root)
        )
        for source in sources
    }


def imported_names(tree: ast.Module) -> Iterator[str]:
    """The dotted names that are imported when the module runs, wherever in it."""
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def nearest(name: str, modules: set[str]) -> str | None:
    """The module that *name*, a module or something in one, is found in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm; empty when there are none."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def room(module: str) -> str:
    """The first package under ours; empty for the top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def longest_chain(graph: Graph, inside: str) -> list[str]:
    """The longest chain of imports among the modules of one room; the graph has no circles."""
    members = {module for module in graph if room(module) == inside and module.count(".") >= 2}

    @cache
    def chain(module: str) -> tuple[str, ...]:
        below = [chain(other) for other in graph[module] if other in members]
        return (module, *max(below, key=len, default=()))

    return list(max(map(chain, sorted(members)), key=len, default=()))


def top_level(graph: Graph, inside: str) -> list[str]:
    """The modules that stand directly in a room, `__init__` left out."""
    return sorted(module for module in graph if room(module) == inside and module.count(".") == 2)


def arrows(graph: Graph) -> set[tuple[str, str]]:
    """The imports between rooms."""
    return {
        (room(module), room(other))
        for module, others in graph.items()
        for other in others
        if room(module) and room(other) and room(module) != room(other)
    }
