"""The layers of design section 3, the limits on size, and what is declared against what is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import aiohttp
import pytest
from structure.imports import circles, graph_of
from structure.sizes import read_package

import orchestrator

ROOT = Path(__file__).parent.parent
PACKAGE = "orchestrator"
#: Where the package under test is, a wheel's or the checkout's.
SOURCE = Path(orchestrator.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}

#: What each layer may import of ours, besides itself; a name with a dot is one module.
BELOW = {
    "domain": set(),
    "preflight": {"domain"},
    "manifest": {"preflight", "domain"},
    "network": {"domain"},
    "metastudio": {"network", "domain"},
    "transfer": {"network", "domain"},
    "journal": {"domain"},
    "engine": {"manifest", "preflight", "metastudio", "transfer", "network", "journal", "domain"},
    "observe": {"engine.events", "domain"},
    "notifications": {"engine", "observe", "network", "journal", "domain"},
    "report": {"journal", "preflight", "domain"},
    "simulator": set(),
    "settings": {"metastudio", "journal", "domain"},
    "api": {
        "settings",
        "engine",
        "observe",
        "notifications",
        "manifest",
        "preflight",
        "metastudio",
        "transfer",
        "journal",
        "domain",
    },
    "fleet": {"engine", "manifest", "metastudio", "transfer", "network", "journal", "domain"},
    "cli": {
        "api",
        "settings",
        "fleet",
        "engine",
        "observe",
        "notifications",
        "report",
        "simulator",
        "manifest",
        "preflight",
        "metastudio",
        "transfer",
        "network",
        "journal",
        "domain",
    },
}
#: Not a layer: `python -m orchestrator` is the command, and may import it.
ENTRY_POINTS = {
    "orchestrator": {"api"},
    "orchestrator.__main__": {"cli"},
}

#: Import names that differ from the distribution that is declared for them.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",  # where pydantic's documentation takes its error class from
    "cv2": "opencv-python-headless",
    "python_calamine": "python-calamine",
    "prometheus_client": "prometheus-client",
    "opentelemetry": "opentelemetry-api",
    "botocore": "aiobotocore",  # which it is made of
    "multidict": "aiohttp",  # the type of aiohttp's headers, by its documentation
}

#: The layers that extras are for, where they are not one of that name.
LAYERS_OF_EXTRA = {
    "excel": {"cli"},
    "fleet": {"fleet", "journal"},
    "object-store": {"simulator"},
    "notify": {"notifications"},
    "otel": {"observe"},
}
BACKENDS = {f"orchestrator.journal.{name}" for name in ("sqlite", "postgres", "postgres_errors")}

MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 520

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax of a module."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> frozenset[str]:
    """The dotted names a module imports, wherever in it, also those for type checkers only."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages_of(module: str) -> set[str]:
    """The top-level packages a module imports from."""
    return {name.split(".")[0] for name in imports_of(module)}


def layer_of(module: str) -> str:
    """The first package under ours."""
    return module.split(".")[1] if "." in module else ""


def own_imports(module: str) -> set[str]:
    """What a module imports of ours from other layers, without our package's name."""
    ours = {name.removeprefix(f"{PACKAGE}.") for name in imports_of(module) if name.startswith(f"{PACKAGE}.")}
    return {name for name in ours if name.split(".")[0] != layer_of(module)} - {"__version__"}


def third_party(module: str) -> set[str]:
    """The top-level packages of others that a module imports."""
    return packages_of(module) - sys.stdlib_module_names - {PACKAGE, "__future__"}


def offences(
    find: Callable[[str], Collection[object]], modules: Collection[str] = MODULES
) -> dict[str, object]:
    """What *find* objects to, by module."""
    return {module: found for module in modules if (found := find(module))}


def is_within(name: str, allowed: set[str]) -> bool:
    """True when *name* is one of the *allowed* packages or modules, or inside one."""
    return any(name == place or name.startswith(f"{place}.") for place in allowed)


def test_every_module_belongs_to_a_layer() -> None:
    """A new layer needs its place in the order."""
    assert {layer_of(module) for module in MODULES if module not in ENTRY_POINTS} <= set(BELOW)


def test_imports_point_downward_only() -> None:
    """Neighbours do not know each other, and the simulator knows nobody."""

    def upward(module: str) -> set[str]:
        allowed = ENTRY_POINTS[module] if module in ENTRY_POINTS else BELOW[layer_of(module)]
        return {name for name in own_imports(module) if not is_within(name, allowed)}

    assert offences(upward) == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even where one of them imports the other when it is needed."""
    assert circles(graph_of(read_package(SOURCE), SOURCE.parent)) == []


def test_the_domain_does_no_io() -> None:
    """Pure rules: no network, no database, no files, no clock, no event loop, no log."""
    impure = {
        "aiohttp",
        "aiofiles",
        "anyio",
        "asyncio",
        "sqlite3",
        "structlog",
        "socket",
        "ssl",
    }
    impure |= {
        "os",
        "io",
        "pathlib",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "logging",
        "random",
        "secrets",
    }
    domain = [module for module in MODULES if layer_of(module) == "domain"]

    assert offences(lambda module: packages_of(module) & impure, domain) == {}


@pytest.mark.parametrize(
    ("library", "layers"),
    [
        ("aiohttp", {"network", "metastudio", "transfer", "engine", "simulator", "report", "cli"}),
        ("sqlite3", {"journal", "simulator", "preflight"}),
        ("yaml", {"manifest", "cli"}),
        ("rich", {"observe", "cli"}),
        ("prometheus_client", {"observe"}),
        ("typer", {"cli"}),
    ],
)
def test_a_library_stays_in_its_layers(library: str, layers: set[str]) -> None:
    """What it says and raises is translated there."""
    users = {layer_of(module) for module in MODULES if library in packages_of(module)}

    assert users <= layers


def test_nothing_outside_the_journal_knows_where_or_how_it_is_kept() -> None:
    """Neither SQLite nor a file or lock beside it: another database comes in through `journal/backend.py` alone."""

    def leaks(module: str) -> set[str]:
        found = {name for name in imports_of(module) if is_within(name, {*BACKENDS, "sqlite3", "psycopg"})}
        return found | (
            names_of(module) & {"lock_path", "hold_batch_lock", "batch_lock_holder", "find_journal"}
        )

    # The fleet's queue is beside a journal on a server, and is reached and waited for as that is.
    knowing = {"journal", "simulator", "preflight", "fleet"}
    outside = [module for module in MODULES if layer_of(module) not in knowing]
    core = [module for module in MODULES if is_within(module, {f"{PACKAGE}.journal"})]
    core = [module for module in core if not is_within(module, BACKENDS)]

    assert offences(leaks, outside) == {}
    # `journal.py` chooses the backend.
    assert set(offences(leaks, core)) == {f"{PACKAGE}.journal.journal"}
    assert offences(lambda module: packages_of(module) & {"sqlite3", "fcntl", "psycopg"}, core) == {}


def test_exceptions_of_the_http_client_are_translated_in_one_place() -> None:
    """Two translations drift apart: what one client repeats the other gives up."""
    network = f"{PACKAGE}.network.errors"

    def translates(module: str) -> set[str]:
        is_client = layer_of(module) in {"network", "metastudio", "transfer", "engine", "cli"}
        return {
            name
            for name in names_of(module)
            if is_client and hasattr(aiohttp, name) and name.endswith(("Error", "InvalidURL"))
        }

    assert set(offences(translates)) == {network}


def names_of(module: str) -> set[str]:
    """The names and attributes that a module uses."""
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Name | ast.Attribute)
    }


def test_only_the_command_line_prints() -> None:
    """The rest returns values, raises errors or publishes events."""
    silent = [module for module in MODULES if layer_of(module) != "cli"]

    assert offences(prints_of, silent) == {}


def prints_of(module: str) -> list[int]:
    """The lines where a module talks to the terminal."""
    return [node.lineno for node in ast.walk(tree_of(module)) if is_terminal(node)]


def is_terminal(node: ast.AST) -> TypeGuard[ast.expr]:
    """True for print, input and the standard streams."""
    if isinstance(node, ast.Attribute):
        is_stream = node.attr.strip("_") in {"stdin", "stdout", "stderr"}
        return is_stream and isinstance(node.value, ast.Name) and node.value.id == "sys"
    return isinstance(node, ast.Name) and node.id in {"print", "input"}


def test_modules_are_named_after_what_they_do() -> None:
    """Nothing is a drawer for everything."""
    drawers = {
        "utils",
        "util",
        "helpers",
        "helper",
        "common",
        "manager",
        "managers",
        "base",
        "misc",
        "shared",
    }

    assert offences(lambda module: set(re.split(r"[._]", module)) & drawers) == {}


def functions_of(module: str) -> Iterator[Function]:
    """Every function of a module, inner ones too."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, Function):
            yield node


def length_of(function: Function) -> int:
    """Lines of the body without the docstring; the signature of a command is the list of its options."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    assert body[-1].end_lineno is not None
    return body[-1].end_lineno - body[0].lineno + 1


def test_functions_are_short() -> None:
    """What does not fit on a page does more than one thing; the median tells admired code from the rest."""
    lengths = sorted(length_of(function) for module in MODULES for function in functions_of(module))

    assert offences(long_functions) == {}
    assert lengths[len(lengths) // 2] < 10


def long_functions(module: str) -> list[str]:
    """The functions of a module that do not fit on a page."""
    return [function.name for function in functions_of(module) if length_of(function) > MAX_FUNCTION_LINES]


def test_files_are_short() -> None:
    """A module is one subject."""
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}

    assert {module: length for module, length in lengths.items() if length > MAX_FILE_LINES} == {}


def declared() -> dict[str, set[str]]:
    """The distributions that pyproject.toml names: to run, and for each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        group: {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in requirements}
        for group, requirements in groups.items()
    }


def distributions_of(module: str) -> set[str]:
    """The distributions a module needs."""
    return {DISTRIBUTIONS.get(name, name) for name in third_party(module)}


def test_what_is_imported_is_declared() -> None:
    """A fresh install has all that runs; an extra's layer may use its extra."""
    groups = declared()

    def undeclared(module: str) -> set[str]:
        return (
            distributions_of(module)
            - groups[""]
            - {
                name
                for extra in groups
                if layer_of(module) in LAYERS_OF_EXTRA.get(extra, {extra.split("-")[0]})
                for name in groups[extra]
            }
        )

    assert offences(undeclared) == {}


def test_what_is_declared_is_used() -> None:
    """Nobody installs what the program does not need."""
    imported = {distribution for module in MODULES for distribution in distributions_of(module)}

    assert declared()[""] - imported == set()


def test_every_step_names_tests_that_exist() -> None:
    """The tests have the names of behaviours, so the module says which are its own."""
    steps = [module for module in MODULES if module.startswith(f"{PACKAGE}.engine.steps.")]

    def unnamed(module: str) -> set[str]:
        named = re.findall(r"tests/[\w/]+\.py", ast.get_docstring(tree_of(module)) or "")
        return {name for name in named if not (ROOT / name).is_file()} if named else {"none"}

    assert steps
    assert offences(unnamed, steps) == {}
