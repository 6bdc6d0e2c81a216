"""`config show`: prints the effective settings."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

from orchestrator.api.engine_settings import home_folder
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, print_table
from orchestrator.domain.errors import ConfigurationError, ExitCode
from orchestrator.domain.quantities import Timetable
from orchestrator.domain.untrusted_text import shown_address
from orchestrator.journal.backend import shown
from orchestrator.metastudio.credentials import PROJECT_VARIABLE, FoundCredentials, find_credentials
from orchestrator.metastudio.rate_limit import ApiRate
from orchestrator.network.tls import TLS_VARIABLE, chosen_tls
from orchestrator.settings.options import ALL_OPTIONS
from orchestrator.settings.sources import EffectiveSettings, environment_doubts, setting_names

_SECRET = frozenset(option.name for option in ALL_OPTIONS if option.is_secret)
_SIZES = frozenset({"part_size", "log_max_size", "max_transfer"})


def show_settings(invocation: Invocation, manifest: Path | None) -> ExitCode:
    """Print the effective settings and the source of each."""
    effective = invocation.settings(beside=manifest)
    output = invocation.output
    credentials: FoundCredentials | ConfigurationError
    try:
        credentials = find_credentials(os.environ, home_folder())
    except ConfigurationError as error:
        credentials = error
    values = {name: (_value(effective, name), effective.source_of(name)) for name in setting_names()}
    # The vendor's variables set the project too; our own setting overrides them.
    project_id = credentials.project_id if isinstance(credentials, FoundCredentials) else None
    if project_id is not None and effective.values.project_id is None:
        in_environment = bool(os.environ.get(PROJECT_VARIABLE, "").strip())
        values["project_id"] = (
            project_id,
            f"environment {PROJECT_VARIABLE}" if in_environment else "the vendor's credentials",
        )
    if output.is_json:
        source = credentials.source if isinstance(credentials, FoundCredentials) else None
        output.document(
            {
                "schema": SCHEMA,
                "settings": {
                    name: {"value": value, "source": source_of} for name, (value, source_of) in values.items()
                },
                "service": effective.endpoint,
                "tls": chosen_tls(os.environ).value,
                "credentials": {"is_set": source is not None, "source": source},
            }
        )
    else:
        rows = [(name, _text(name, value), source_of) for name, (value, source_of) in values.items()]
        print_table(output, ("setting", "value", "from"), rows)
        output.say(f"service: {effective.endpoint or 'not set; use --region or --endpoint'}")
        output.say(f"TLS connections: {chosen_tls(os.environ)} ({TLS_VARIABLE}=own or asyncio)")
        if isinstance(credentials, FoundCredentials):
            output.say(f"credentials: set (from {credentials.source})")
        else:
            output.say(f"credentials: {credentials.message}; {credentials.hint}")
    complaints = credentials.warnings if isinstance(credentials, FoundCredentials) else ()
    for warning in (*complaints, *environment_doubts(os.environ)):
        output.note(f"warning: {warning}")
    return ExitCode.OK


def _value(effective: EffectiveSettings, name: str) -> Any:
    value = getattr(effective.values, name)
    if name == "state":
        return shown(value)
    if name in _SECRET:
        addresses = value if isinstance(value, tuple) else filter(None, [value])
        return " ".join(map(shown_address, addresses)) or None
    return "auto" if name == "parallel" and value is None else _plain(value)


def _plain(value: Any) -> Any:
    """Return *value* for JSON, in the form in which it would be set."""
    match value:
        case ApiRate(writes_per_second=writes, reads_per_second=reads):
            return ":".join(f"{rate:g}" if rate else "unlimited" for rate in (writes, reads))
        case Timetable():
            return str(value)
        case float():
            return int(value) if value.is_integer() else value
        case Enum():
            return value.value
        case Path():
            return str(value)
        case _:
            return value


def _text(name: str, value: object) -> str:
    """Return *value* as people write it: sizes with a unit, switches as on or off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if name in _SIZES and isinstance(value, int):
        units = ((1024**3, "GiB"), (1024**2, "MiB"), (10**9, "G"), (10**6, "M"), (1024, "KiB"))
        return next((f"{value // unit}{name}" for unit, name in units if value % unit == 0), str(value))
    return "not set" if value is None else str(value)
