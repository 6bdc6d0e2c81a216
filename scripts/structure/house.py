"""Print how the package is cut: the table of sizes and prose, and what its imports look like."""

from __future__ import annotations

import argparse
from pathlib import Path

from structure.imports import arrows, circles, graph_of, longest_chain, room, top_level
from structure.sizes import Source, long_functions, read_package, table

#: From top to bottom; a room imports only from those below it.
FLOORS = (
    ("cli",),
    ("api",),
    ("fleet", "notifications"),
    ("observe", "report"),
    ("engine", "settings"),
    ("manifest", "metastudio", "transfer", "journal", "simulator"),
    ("preflight", "network"),
    ("domain",),
)


def main() -> None:
    """Print the measures of a package's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", nargs="?", default="orchestrator", type=Path, help="the package's folder")
    parser.add_argument("--without", action="append", default=[], metavar="ROOM", help="leave a room out")
    parser.add_argument("--chains", action="store_true", help="print the longest chain of each room whole")
    asked = parser.parse_args()
    folder = asked.package.resolve()
    sources = [source for source in read_package(folder) if not set(asked.without) & set(source.path.parts)]
    for name, value in table(sources).items():
        print(f"{name:<48}{value}")
    _print_imports(sources, folder, is_whole=asked.chains)
    for line in long_functions(sources, 50):
        print(f"over 50 lines: {line}")


def _print_imports(sources: list[Source], folder: Path, *, is_whole: bool) -> None:
    graph = graph_of(sources, folder.parent)
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    # The package itself, and `python -m`, stand above all rooms.
    upward = [(a, b) for a, b in arrows(graph) if floor.get(a, -1) >= floor.get(b, len(FLOORS))]
    homeless = {room(module) for module in graph} - {"", "__main__", *floor}
    print(f"{'circles':<48}{circles(graph) or 'none'}")
    print(f"{'upward imports':<48}{sorted(upward) or 'none'}")
    if homeless:
        print(f"{'rooms on no floor':<48}{sorted(homeless)}")
    if circles(graph):
        return  # a chain of imports has no length then
    for inside in sorted({room(module) for module in graph} - {""}):
        chain = longest_chain(graph, inside)
        count = sum(room(module) == inside for module in graph)
        text = f"{count} modules, {len(top_level(graph, inside))} at the top, longest chain {len(chain)}"
        print(f"{'room ' + inside:<48}{text}")
        if is_whole:
            print(" " * 4 + " -> ".join(name.split(".", 2)[-1] for name in chain))


if __name__ == "__main__":
    main()
