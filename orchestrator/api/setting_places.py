"""The places that settings come from: flags and keywords, variables, files; each with the name of its exact place."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_config_path
from pydantic import BaseModel

from orchestrator.api.options import ALL_OPTIONS, ENVIRONMENT_PREFIX
from orchestrator.domain.errors import ConfigurationError
from orchestrator.journal.backend import is_url

CONFIG_NAME = "orchestrator.toml"
#: The file that stands for the standard output.
STDOUT = Path("-")
_PATHS = tuple(option.name for option in ALL_OPTIONS if option.is_path)
_LONG_FLAGS = {
    option.name: next(flag for flag in option.flags if flag.startswith("--")).partition("/")[0]
    for option in ALL_OPTIONS
}
_TRUE_TEXTS = frozenset({"1", "true", "t", "yes", "y", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The values that one place gives; `origins` names the exact place of each, for messages."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    is_command_line: bool = False

    def called(self, name: str) -> str:
        """How a complaint about the setting begins."""
        return self.origins[name] if self.is_command_line else f"{name} (from {self.origins[name]})"


def flags_layer(flags: Mapping[str, str | bool | list[str]]) -> Layer:
    """What the command line says."""
    return Layer(values=flags, origins=_LONG_FLAGS, is_command_line=True)


def environment_layer(settings: type[BaseModel], switches: set[str], environ: Mapping[str, str]) -> Layer:
    """What variables like ORCHESTRATOR_JOBS say; ORCHESTRATOR_NO_X=yes is ORCHESTRATOR_X=no for *switches*.

    Raises ConfigurationError when both are set.
    """
    variables = {name: f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in settings.model_fields}
    texts = {name: environ.get(variable) for name, variable in variables.items()}
    values: dict[str, Any] = {name: text for name, text in texts.items() if text}
    for name in sorted(switches):
        negative = f"{ENVIRONMENT_PREFIX}NO_{name.upper()}"
        text = environ.get(negative, "").strip().lower()
        if text and name in values:
            raise ConfigurationError(f"{negative} and {variables[name]} are both set")
        if text:
            values[name] = text not in _TRUE_TEXTS
            variables[name] = negative
    origins = {name: f"environment {variable}" for name, variable in variables.items()}
    return Layer(values=values, origins=origins)


def file_layers(settings: type[BaseModel], config: Path | None, beside: Path | None) -> Iterator[Layer]:
    """The files that exist: *config*, which must, the manifest's neighbour, and the user's own."""
    if config is not None:
        if not _is_file(config):
            raise ConfigurationError(f"the configuration file {config} does not exist")
        yield _file_layer(settings, config)
    folder = beside.parent if beside is not None else Path()
    neighbour = folder / CONFIG_NAME
    if _is_file(neighbour):
        layer = _file_layer(settings, neighbour)
        # A folder of footage comes from others: what is in it may not choose what this machine executes.
        if "on_finish" in layer.values:
            raise ConfigurationError(
                f"{neighbour}: on_finish is not read from a file beside the manifest",
                hint="give it as --on-finish, in the file of --config, or in the user's own",
            )
        yield layer
    try:
        own = user_config_path("metastudio-orchestrator") / "config.toml"
    except RuntimeError:
        return  # no home is known to have one
    if own.is_absolute() and _is_file(own):
        yield _file_layer(settings, own)


def _is_file(path: Path) -> bool:
    """True for a file that can be seen; in a folder that we may not look into there is none."""
    return os.path.isfile(path)  # noqa: PTH113 - never raises, whatever the path


def _file_layer(settings: type[BaseModel], path: Path) -> Layer:
    values = {name.replace("-", "_"): value for name, value in _read(path).items()}
    for name in values:
        if name not in settings.model_fields:
            raise ConfigurationError(
                f"{path}: there is no setting {name!r}{nearest(name, settings)}",
                hint="`orchestrator config show` lists all",
            )
    for name in _PATHS:
        if isinstance(values.get(name), str) and values[name] != str(STDOUT) and not is_url(values[name]):
            try:
                place = Path(values[name]).expanduser()
            except RuntimeError:
                raise ConfigurationError(
                    f"{path}: {name} is {values[name]}, but that home directory does not exist",
                    hint="write the full path",
                ) from None
            values[name] = str(path.absolute().parent / place)
    return Layer(values=values, origins=dict.fromkeys(values, str(path)))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        text = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise ConfigurationError(f"{path} is not a TOML file: {text}") from None


def nearest(name: str, settings: type[BaseModel]) -> str:
    """`; did you mean ...?` with the setting nearest to *name*, or ''."""
    matches = difflib.get_close_matches(name, settings.model_fields, n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
