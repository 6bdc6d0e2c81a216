"""Where settings come from: flags, environment and files, and which of these places decides."""

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
from pydantic import BaseModel, ValidationError

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
#: Variables with our prefix that are no setting: credentials, and what belongs to one command.
_OTHER_VARIABLES = frozenset(
    {"AUTH_TOKEN", "IAM_USER", "IAM_PASSWORD", "IAM_DOMAIN", "IAM_ENDPOINT"}
    | {"TLS"}  # for support, not for daily use
    | {"CONFIG", "JSON", "DRY_RUN", "BATCH_NAME", "RATE"}
)
#: A zone written out, as POSIX has it (`CST-8`, `<+08>-8`): it needs no data.
_WRITTEN_OUT = re.compile(r":?(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d.*|:?/.*")


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """The effective settings, and where those that are not the default come from."""

    values: Settings
    sources: Mapping[str, str]
    #: Places from the strongest to the weakest, each with the names it gives.
    ranks: Sequence[frozenset[str]]
    #: Reads all places once more; raises UsageError or ConfigurationError as the first reading does.
    reread: Callable[[], EffectiveSettings] | None = None
    #: A person watches, who need not wait long to learn that nothing was ever reached.
    is_watched: bool = False

    def source_of(self, name: str) -> str:
        """Where a setting comes from, as people call it."""
        return self.sources.get(name, "default")

    @property
    def endpoint(self) -> str | None:
        """The service's URL; that of a region only where no place at least as strong names an endpoint.

        Raises ConfigurationError for a region that cannot be one.
        """
        region, endpoint = self.values.region, self.values.endpoint
        if region is None or (endpoint is not None and self._rank("endpoint") <= self._rank("region")):
            return endpoint
        from orchestrator.metastudio.credentials import region_endpoint  # noqa: PLC0415 - only for whom it signs

        return region_endpoint(region)

    def at(self, endpoint: str, project_id: str, state: str) -> EffectiveSettings:
        """The same settings for a batch that the journal at *state* knows."""
        known = {"endpoint": endpoint, "project_id": project_id, "state": state}
        values = self.values.model_copy(update=known)
        return replace(self, values=values, ranks=[frozenset(known), *self.ranks])

    def as_enqueued(self, kept: str, *, but: Collection[str] = ()) -> EffectiveSettings:
        """The same settings for a batch of a fleet, which decides some of them, *but* not these.

        What was *kept* when it was queued goes before all but flags, also where that is the default. Raises
        JournalError where it is damaged.
        """
        from orchestrator.journal.records import intact  # noqa: PLC0415 - only for a fleet's batches

        with intact("the settings of a batch"):
            # A later version may keep more.
            decided = Settings(
                **{name: value for name, value in json.loads(kept).items() if name in _OF_BATCHES}
            )
        names = {name for name in _OF_BATCHES - set(but) if not self.source_of(name).startswith("--")}
        update = {name: getattr(decided, name) for name in names}
        return replace(self, values=self.values.model_copy(update=update))

    def _rank(self, name: str) -> int:
        return next((rank for rank, names in enumerate(self.ranks) if name in names), len(self.ranks))


def kept_for_batch(values: Settings) -> str:
    """Those of *values* that a batch of a fleet decides, as its journal keeps them."""
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
    """As `load_settings`, with *keywords* of a call in the place of flags, and the variables of *environ*.

    Raises UsageError for a keyword that is no setting.
    """
    for name in keywords:
        if name not in Settings.model_fields:
            raise UsageError(
                f"there is no setting {name!r}{nearest(name, Settings)}",
                hint="`orchestrator config show` lists all",
            )
    # A path may be given as one, and None leaves the setting to the other places.
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
        environment_layer(Settings, switches, environ),
        *file_layers(Settings, config, beside),
    ]
    return _merged(layers)


def settings_of_flags(flags: Mapping[str, str | bool | list[str]]) -> EffectiveSettings:
    """What the command line alone says; for going on to see what else is wrong. Raises UsageError."""
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
    """The worst complaint: a wrong flag is reported before anything in files."""
    complaints: list[OrchestratorError] = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        kind = UsageError if winners[name].is_command_line else ConfigurationError
        complaints.append(kind(f"{winners[name].called(name)}: {text}"))
    return next((found for found in complaints if isinstance(found, UsageError)), complaints[0])


def setting_names() -> Iterable[str]:
    """The names of all settings, in the order in which they are shown."""
    return Settings.model_fields.keys()


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
        own = user_config_path(APPLICATION) / "config.toml"
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


def environment_doubts(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable of *environ* that most likely is a mistake."""
    return [*unknown_variables(environ), *unknown_time_zone(environ)]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = {name.upper() for name in setting_names()}
    known |= {f"NO_{name}" for name in known} | _OTHER_VARIABLES
    warnings = []
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name != variable and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {ENVIRONMENT_PREFIX}{nearest[0]}?" if nearest else ""
            warnings.append(f"the environment variable {variable} is not a setting{hint}")
    return warnings


def unknown_time_zone(environ: Mapping[str, str]) -> list[str]:
    """A sentence where TZ names a zone of which this machine has no data: its clock then shows UTC without a word."""
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
