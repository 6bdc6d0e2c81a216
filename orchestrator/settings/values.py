"""The values of settings: the type and bounds of each. Flags, defaults and help are in `options`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_state_path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.domain.assets import DEFAULT_PART_BYTES, MAX_PART_BYTES, MIN_PART_BYTES
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.quantities import Timetable, parse_bytes, parse_duration, parse_timetable
from orchestrator.metastudio.rate_limit import ApiRate, parse_api_rate
from orchestrator.settings.options import DEFAULTS

APPLICATION = "metastudio-orchestrator"
#: The path that stands for standard output.
STDOUT = Path("-")


class ProgressStyle(StrEnum):
    """The style in which progress is shown."""

    AUTO = "auto"
    BAR = "bar"
    PLAIN = "plain"
    LINE = "line"
    NONE = "none"


def _parsed(parse: Callable[[str], object]) -> BeforeValidator:
    """Return a validator that parses strings with *parse* and passes other values through."""

    def read(value: object) -> object:
        try:
            return parse(value) if isinstance(value, str) else value
        except ConfigurationError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None

    return BeforeValidator(read)


def _address(value: str) -> str:
    # The value is not quoted: most of an address is a secret.
    if "://" not in value:
        raise ValueError("must be a URL such as mailto://, wecombot:// or https://")
    return value


def _web_address(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("must be a URL that begins with https:// or http://")
    return value


_Address = Annotated[str, AfterValidator(_address)]


def _state() -> str:
    try:
        return str(user_state_path(APPLICATION) / "journal.db")
    except RuntimeError:
        # No home directory is known. Opening the journal reports it, since most users without a home set another
        # path.
        return f"~/.local/state/{APPLICATION}/journal.db"


def _option(name: str, **bounds: Any) -> Any:
    """Return the field of the setting *name*; the option's default is parsed and validated like any other value."""
    return Field(DEFAULTS[name], validate_default=True, **bounds)


class Settings(BaseModel):
    """All settings with their types and bounds; times are in seconds, sizes in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    region: str | None = _option("region")
    endpoint: str | None = _option("endpoint")
    project_id: str | None = _option("project_id")
    insecure_http: bool = _option("insecure_http")
    state: str = Field(default_factory=_state)
    progress: ProgressStyle = _option("progress")
    quiet: bool = _option("quiet")
    verbose: bool = _option("verbose")
    log_file: Path | None = _option("log_file")
    log_max_size: Annotated[int, _parsed(parse_bytes)] = _option("log_max_size", gt=0)
    media_check: bool = _option("media_check")
    look: Literal["quick", "deep", "off"] = _option("look")
    look_strict: bool = _option("look_strict")
    part_size: Annotated[
        int, _parsed(lambda text: DEFAULT_PART_BYTES if text == "auto" else parse_bytes(text))
    ] = _option("part_size", ge=MIN_PART_BYTES, le=MAX_PART_BYTES)
    submit: bool | None = _option("submit")
    submit_anyway: bool = _option("submit_anyway")
    jobs: int = _option("jobs", ge=1, le=256)
    #: None adapts the number to the throughput while running.
    parallel: Annotated[
        Annotated[int, Field(ge=1, le=256)] | None, _parsed(lambda text: None if text == "auto" else text)
    ] = _option("parallel")
    bwlimit: Annotated[Timetable, _parsed(parse_timetable)] = _option("bwlimit")
    verify: Literal["etag", "off"] = _option("verify")
    verify_object: bool = _option("verify_object")
    idle_timeout: float = _option("idle_timeout", gt=0, allow_inf_nan=False)
    api_rate: Annotated[ApiRate, _parsed(parse_api_rate)] = _option("api_rate")
    api_attempts: int = _option("api_attempts", ge=1, le=100)
    max_outage: Annotated[float, _parsed(parse_duration)] = _option("max_outage", ge=0, allow_inf_nan=False)
    max_duration: Annotated[Annotated[float, Field(gt=0)] | None, _parsed(parse_duration)] = _option(
        "max_duration"
    )
    max_transfer: Annotated[Annotated[int, Field(gt=0)] | None, _parsed(parse_bytes)] = _option(
        "max_transfer"
    )
    on_expired: Literal["recreate", "fail"] = _option("on_expired")
    skip_invalid: bool = _option("skip_invalid")
    min_age: Annotated[Annotated[float, Field(ge=0)] | None, _parsed(parse_duration)] = _option("min_age")
    on_change: Literal["ask", "update", "recreate"] = _option("on_change")
    on_existing: Literal["ask", "adopt", "create"] = _option("on_existing")
    fail_fast: bool = _option("fail_fast")
    grace: float = _option("grace", ge=0, allow_inf_nan=False)
    #: STDOUT means standard output.
    events: Path | None = _option("events")
    metrics_file: Path | None = _option("metrics_file")
    metrics_port: int | None = _option("metrics_port", ge=1, le=65535)
    notify: Annotated[tuple[_Address, ...], _parsed(str.split)] = ()
    on_finish: str | None = _option("on_finish")
    heartbeat: Annotated[str, AfterValidator(_web_address)] | None = _option("heartbeat")

    @property
    def secret_texts(self) -> tuple[str, ...]:
        """The settings' texts that no output may contain."""
        return (*self.notify, *filter(None, [self.heartbeat]))
