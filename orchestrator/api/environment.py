"""What in the environment is not what it seems: variables that set nothing, and a time zone that is unknown here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.api.options import ENVIRONMENT_PREFIX
from orchestrator.api.settings import setting_names

#: Variables with our prefix that are no setting: credentials, and what belongs to one command.
_OTHER_VARIABLES = frozenset(
    {"AUTH_TOKEN", "IAM_USER", "IAM_PASSWORD", "IAM_DOMAIN", "IAM_ENDPOINT"}
    | {"TLS"}  # for support, not for daily use
    | {"CONFIG", "JSON", "DRY_RUN", "BATCH_NAME", "RATE"}
)
#: A zone written out, as POSIX has it (`CST-8`, `<+08>-8`): it needs no data.
_WRITTEN_OUT = re.compile(r":?(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d.*|:?/.*")


def doubts(environ: Mapping[str, str]) -> list[str]:
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
