"""The sources of settings (flags, environment and files) and their precedence."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from platformdirs import user_config_path
from pydantic import ValidationError

from orchestrator.domain.errors import ConfigurationError, OrchestratorError, UsageError
from orchestrator.journal.backend import has_password, is_url
from orchestrator.settings.options import ALL_OPTIONS, BATCH_OPTIONS, ENVIRONMENT_PREFIX
from orchestrator.settings.values import APPLICATION, STDOUT, Settings

CONFIG_NAME = "orchestrator.toml"
_PATHS = tuple(option.name for option in ALL_OPTIONS if option.is_path)
_OF_BATCHES = {option.name for option in BATCH_OPTIONS}
_LONG_FLAGS = {
    option.name: next(flag for flag in option.flags if flag.startswith("--")).partition("/")[0]
    for option in ALL_OPTIONS
}
_TRUE_TEXTS = frozenset({"1", "true", "t", "yes", "y", "on"})
#: Variables with our prefix that are not settings: credentials, and options of single commands.
_OTHER_VARIABLES = frozenset(
    {"AUTH_TOKEN", "IAM_USER", "IAM_PASSWORD", "IAM_DOMAIN", "IAM_ENDPOINT"}
    | {"TLS"}  # for support, not for daily use
    | {"CONFIG", "JSON", "DRY_RUN", "BATCH_NAME", "RATE"}
)
#: A zone written out in POSIX form (`CST-8`, `<+08>-8`): it needs no zone data.
_WRITTEN_OUT = re.compile(r":?(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d.*|:?/.*")


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """The effective settings, and the sources of those that are not defaults."""

    values: Settings
    sources: Mapping[str, str]
    #: The names that each source sets, from the highest precedence to the lowest.
    ranks: Sequence[frozenset[str]]
    #: Reads all sources again; raises UsageError or ConfigurationError like the first reading.
    reread: Callable[[], EffectiveSettings] | None = None
    #: A person watches the command, so it may report early that the service was never reached.
    is_interactive: bool = False

    def source_of(self, name: str) -> str:
        """Return the source of a setting, as shown to people."""
        return self.sources.get(name, "default")

    @property
    def endpoint(self) -> str | None:
        """The service's URL; a region sets it only if no source of the same or higher precedence sets an endpoint.

        Raises ConfigurationError for an unknown region.
        """
        region, endpoint = self.values.region, self.values.endpoint
        if region is None or (endpoint is not None and self._rank("endpoint") <= self._rank("region")):
            return endpoint
        from orchestrator.metastudio.credentials import region_endpoint  # noqa: PLC0415 - only if a region is set

        return region_endpoint(region)

    def at(self, endpoint: str, project_id: str, state: str) -> EffectiveSettings:
        """Return these settings for a batch of the journal at *state*, with its endpoint and project."""
        known = {"endpoint": endpoint, "project_id": project_id, "state": state}
        values = self.values.model_copy(update=known)
        return replace(self, values=values, ranks=[frozenset(known), *self.ranks])

    def as_enqueued(self, kept: str, *, but: Collection[str] = ()) -> EffectiveSettings:
        """Return these settings for a batch of a fleet, which decides some of them itself, except those in *but*.

        The settings that were *kept* when it was queued override everything except flags, even if they are
        defaults. Raises JournalError if they are damaged.
        """
        from orchestrator.journal.records import intact  # noqa: PLC0415 - only for a fleet's batches

        with intact("the settings of a batch"):
            # A later version may keep more settings.
            decided = Settings(
                **{name: value for name, value in json.loads(kept).items() if name in _OF_BATCHES}
            )
        names = {name for name in _OF_BATCHES - set(but) if not self.source_of(name).startswith("--")}
        update = {name: getattr(decided, name) for name in names}
        return replace(self, values=self.values.model_copy(update=update))

    def _rank(self, name: str) -> int:
        return next((rank for rank, names in enumerate(self.ranks) if name in names), len(self.ranks))


def kept_for_batch(values: Settings) -> str:
    """Return the part of *values* that a batch of a fleet decides, in the form kept by its journal."""
    return values.model_dump_json(include=_OF_BATCHES)


def load_settings(
    *, flags: Mapping[str, str | bool | list[str]], config: Path | None, beside: Path | None
) -> EffectiveSettings:
    """Merge flags, environment, the file *config*, orchestrator.toml beside the manifest and the user's file.

    Raises UsageError for a wrong flag, ConfigurationError for a wrong value or key from elsewhere.
    """
    if has_password(str(flags.get("state", ""))):
        raise UsageError(
            "--state holds a password, which everybody on this machine can read in the list of processes",
            hint="leave it out: ~/.pgpass (PGPASSFILE) or PGPASSWORD holds it; special characters are %XX",
        )
    return _loaded(flags_layer(flags), os.environ, config, beside)


def settings_of_keywords(
    keywords: Mapping[str, object], environ: Mapping[str, str], *, config: Path | None, beside: Path
) -> EffectiveSettings:
    """Like `load_settings`, with the *keywords* of a call instead of flags, and the variables of *environ*.

    Raises UsageError for a keyword that is not a setting.
    """
    for name in keywords:
        if name not in setting_names():
            raise UsageError(
                f"there is no setting {name!r}{nearest(name, setting_names())}",
                hint="`orchestrator config show` lists all",
            )
    # A path may be a Path, and None leaves the setting to the other sources.
    given = {
        name: str(value) if name == "state" else value
        for name, value in keywords.items()
        if value is not None
    }
    layer = Layer(values=given, origins={name: name for name in given}, is_command_line=True)
    return _loaded(layer, environ, config, beside)


def _loaded(
    first: Layer, environ: Mapping[str, str], config: Path | None, beside: Path | None
) -> EffectiveSettings:
    known = Settings.model_fields
    switches = {name for name, field in known.items() if field.annotation in {bool, bool | None}}
    layers = [
        first,
        environment_layer(switches, environ),
        *file_layers(config, beside),
    ]
    return _merged(layers)


def settings_of_flags(flags: Mapping[str, str | bool | list[str]]) -> EffectiveSettings:
    """Return the settings of the command line alone, to continue after an error elsewhere; raises UsageError."""
    return _merged([flags_layer(flags)])


def _merged(layers: Sequence[Layer]) -> EffectiveSettings:
    winners = {name: layer for layer in reversed(layers) for name in layer.values}
    try:
        values = Settings(**{name: layer.values[name] for name, layer in winners.items()})
    except ValidationError as error:
        raise _first_complaint(error, winners) from None
    return EffectiveSettings(
        values=values,
        sources={name: layer.origins[name] for name, layer in winners.items()},
        ranks=[frozenset(layer.values) for layer in layers],
    )


def _first_complaint(error: ValidationError, winners: Mapping[str, Layer]) -> OrchestratorError:
    """Return the worst error: a wrong flag is reported before a wrong value from elsewhere."""
    complaints: list[OrchestratorError] = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        kind = UsageError if winners[name].is_command_line else ConfigurationError
        complaints.append(kind(f"{winners[name].called(name)}: {text}"))
    return next((found for found in complaints if isinstance(found, UsageError)), complaints[0])


def setting_names() -> Collection[str]:
    """Return the names of all settings, in the order in which they are shown."""
    return Settings.model_fields.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The values that one source sets; `origins` names the exact origin of each, for messages."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    is_command_line: bool = False

    def called(self, name: str) -> str:
        """Return the beginning of an error message about the setting."""
        return self.origins[name] if self.is_command_line else f"{name} (from {self.origins[name]})"


def flags_layer(flags: Mapping[str, str | bool | list[str]]) -> Layer:
    """Return the layer of the command line's flags."""
    return Layer(values=flags, origins=_LONG_FLAGS, is_command_line=True)


def environment_layer(switches: set[str], environ: Mapping[str, str]) -> Layer:
    """Return the layer of variables such as ORCHESTRATOR_JOBS.

    ORCHESTRATOR_NO_X=yes means ORCHESTRATOR_X=no for *switches*. Raises ConfigurationError if both are set.
    """
    variables = {name: f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in setting_names()}
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


def file_layers(config: Path | None, beside: Path | None) -> Iterator[Layer]:
    """Yield the layers of existing files: *config*, which must exist, the one beside the manifest, and the user's."""
    if config is not None:
        if not _is_file(config):
            raise ConfigurationError(f"the configuration file {config} does not exist")
        yield _file_layer(config)
    folder = beside.parent if beside is not None else Path()
    neighbour = folder / CONFIG_NAME
    if _is_file(neighbour):
        layer = _file_layer(neighbour)
        # A folder of footage comes from others: its files must not choose what this machine executes.
        if "on_finish" in layer.values:
            raise ConfigurationError(
                f"{neighbour}: on_finish is not read from a file beside the manifest",
                hint="give it as --on-finish, in the file of --config, or in the user's own",
            )
        yield layer
    try:
        own = user_config_path(APPLICATION) / "config.toml"
    except RuntimeError:
        return  # without a known home directory there is no user's file
    if own.is_absolute() and _is_file(own):
        yield _file_layer(own)


def _is_file(path: Path) -> bool:
    """True for a visible file; a file in a folder without access counts as missing."""
    return os.path.isfile(path)  # noqa: PTH113 - never raises, for any path


def _file_layer(path: Path) -> Layer:
    values = {name.replace("-", "_"): value for name, value in _read(path).items()}
    for name in values:
        if name not in setting_names():
            raise ConfigurationError(
                f"{path}: there is no setting {name!r}{nearest(name, setting_names())}",
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


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `; did you mean ...?` with the name in *known* nearest to *name*, after *prefix*; or ''."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{matches[0]}?" if matches else ""


def environment_doubts(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable of *environ* that is most likely a mistake."""
    return [*unknown_variables(environ), *unknown_time_zone(environ)]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable with the settings' prefix that is not a setting."""
    known = {name.upper() for name in setting_names()}
    known |= {f"NO_{name}" for name in known} | _OTHER_VARIABLES
    warnings = []
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name != variable and name not in known:
            hint = nearest(name, known, ENVIRONMENT_PREFIX)
            warnings.append(f"the environment variable {variable} is not a setting{hint}")
    return warnings


def unknown_time_zone(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence if TZ names a zone without data on this machine: its clock then silently shows UTC."""
    zone = environ.get("TZ", "")
    if not zone or _WRITTEN_OUT.fullmatch(zone):
        return []
    try:
        ZoneInfo(zone.removeprefix(":"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [
            f"TZ is {zone!r}, of which this machine has no data: times are UTC, those of a bandwidth timetable too"
        ]
    return []
