"""`config show`: the effective settings."""

from __future__ import annotations

import difflib
import os
from enum import Enum
from pathlib import Path
from typing import Any

from orchestrator.api.options import ALL_OPTIONS, ENVIRONMENT_PREFIX
from orchestrator.api.service import home_folder
from orchestrator.api.settings import EffectiveSettings, setting_names
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, print_table
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.domain.notices import shown_address
from orchestrator.journal.backend import shown
from orchestrator.metastudio.credentials import FoundCredentials, find_credentials
from orchestrator.metastudio.pacing import ApiRate
from orchestrator.network.tls import TLS_VARIABLE, chosen_tls
from orchestrator.transfer.pacing import Timetable

#: Variables with our prefix that are no setting: credentials, and what belongs to one command.
_OTHER_VARIABLES = frozenset(
    {"AUTH_TOKEN", "IAM_USER", "IAM_PASSWORD", "IAM_DOMAIN", "IAM_ENDPOINT"}
    | {"TLS"}  # for support, not for daily use
    | {"CONFIG", "JSON", "DRY_RUN", "BATCH_NAME", "RATE"}
)
_SECRET = frozenset(option.name for option in ALL_OPTIONS if option.is_secret)


def show_settings(invocation: Invocation, manifest: Path | None) -> ExitCode:
    """Print the effective settings and where each comes from."""
    effective = invocation.settings(beside=manifest)
    output = invocation.output
    credentials = _credentials()
    if output.is_json:
        source = credentials.source if isinstance(credentials, FoundCredentials) else None
        output.document(
            {
                "schema": SCHEMA,
                "settings": {
                    name: {"value": _value(effective, name), "source": effective.source_of(name)}
                    for name in setting_names()
                },
                "service": effective.endpoint,
                "tls": chosen_tls(os.environ).value,
                "credentials": {"is_set": source is not None, "source": source},
            }
        )
    else:
        rows = [(name, _text(_value(effective, name)), effective.source_of(name)) for name in setting_names()]
        print_table(output, ("setting", "value", "from"), rows)
        output.say(f"service: {effective.endpoint or 'not set; use --region or --endpoint'}")
        output.say(f"TLS connections: {chosen_tls(os.environ)} ({TLS_VARIABLE}=own or asyncio)")
        if isinstance(credentials, FoundCredentials):
            output.say(f"credentials: set (from {credentials.source})")
        else:
            output.say(f"credentials: {credentials.message}; {credentials.hint}")
    complaints = credentials.warnings if isinstance(credentials, FoundCredentials) else ()
    for warning in (*complaints, *unknown_variables()):
        output.note(f"warning: {warning}")
    return ExitCode.OK


def _credentials() -> FoundCredentials | ConfigurationError:
    try:
        return find_credentials(os.environ, home_folder())
    except ConfigurationError as error:
        return error


def unknown_variables() -> list[str]:
    """A sentence for each variable of the environment that looks like a setting and is none."""
    known = {name.upper() for name in setting_names()}
    known |= {f"NO_{name}" for name in known} | _OTHER_VARIABLES
    warnings = []
    for variable in sorted(os.environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name != variable and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {ENVIRONMENT_PREFIX}{nearest[0]}?" if nearest else ""
            warnings.append(f"the environment variable {variable} is not a setting{hint}")
    return warnings


def _value(effective: EffectiveSettings, name: str) -> Any:
    value = getattr(effective.values, name)
    if name == "state":
        return shown(value)
    if name in _SECRET and value is not None:
        return list(map(shown_address, value)) if isinstance(value, tuple) else shown_address(value)
    return "auto" if name == "parallel" and value is None else _plain(value)


def _plain(value: Any) -> Any:
    """*value* as JSON has it, written as one would set it."""
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


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not set" if value in (None, []) else ", ".join(value) if isinstance(value, list) else str(value)
