"""`doctor`: everything a run needs, checked without changing anything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from orchestrator.api.checking import Asked, check_manifest
from orchestrator.api.service import home_folder, real_clocks
from orchestrator.api.settings import EffectiveSettings, environment_doubts, settings_of_flags
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.work.checks.check import (
    Check,
    CheckStatus,
    exit_code_of_checks,
    failed,
    failed_by,
    passed,
    warned,
)
from orchestrator.cli.work.checks.journal import check_journal
from orchestrator.cli.work.checks.machine import check_digest, check_folder, check_open_files, check_proxy
from orchestrator.cli.work.checks.service import check_service, check_store, find_access
from orchestrator.domain.errors import ConfigurationError, OrchestratorError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.journal.journal import folder_of


def examine_all(invocation: Invocation, manifest: Path | None, defaults: Sequence[str]) -> ExitCode:
    """Make every check, whatever the others find, and print them; raises UsageError for a wrong flag."""
    effective, settings_check = _settings(invocation, manifest)
    access = find_access(effective, os.environ, home_folder())
    journal, upload_url = check_journal(effective.values.state)
    proxy = check_proxy(access.endpoint)
    checks = [settings_check, *access.checks, proxy]
    clocks = real_clocks()
    checks += run_on_network(check_service, effective, access, clocks)
    checks.append(run_on_network(check_store, upload_url, clocks))
    checks += [journal, *_folders(effective), check_open_files(effective.values), check_digest()]
    if manifest is not None:
        # Every file that it names is opened; what is in the films is for `validate`.
        opened = Asked(path=manifest, defaults=defaults).open(effective.values)
        count, problems = check_manifest(opened, with_media=False)
        errors = [problem for problem in problems if problem.is_error]
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            fix = f"orchestrator validate {quote(str(manifest))}"
            checks.append(failed("footage", f"{errors[0]}{more}", fix))
        else:
            checks.append(passed("footage", f"{manifest}: the files of {count} entries can be read"))
    code = exit_code_of_checks(checks)
    _print(invocation.output, checks, code)
    return code


def _settings(invocation: Invocation, manifest: Path | None) -> tuple[EffectiveSettings, Check]:
    """The effective settings; those of the command line alone where a file or a variable is wrong."""
    try:
        effective = invocation.settings(beside=manifest)
    except ConfigurationError as error:
        return settings_of_flags(invocation.flags), failed_by(
            "settings", error, "see `orchestrator config show`"
        )
    for warning in environment_doubts(os.environ):
        return effective, warned("settings", warning, "rename or unset it; `orchestrator config show`")
    return effective, passed("settings", f"{len(effective.sources)} set, the others default")


def _folders(effective: EffectiveSettings) -> list[Check]:
    checks = []
    try:
        folder = folder_of(effective.values.state)
        if folder is not None:
            checks.append(check_folder("state", folder))
    except OrchestratorError as error:
        checks.append(failed_by("state", error, "name another place with --state"))
    if effective.values.log_file is not None:
        checks.append(check_folder("log", effective.values.log_file.absolute().parent))
    return checks


def _print(output: Output, checks: Sequence[Check], code: ExitCode) -> None:
    if output.is_json:
        listed = [check.as_dict() for check in checks]
        output.document({"schema": SCHEMA, "exit_code": int(code), "checks": listed})
        return
    widest = max(len(check.name) for check in checks)
    for check in checks:
        write_line = output.complain if output.is_quiet and check.status is CheckStatus.FAIL else output.say
        write_line(f"{check.status:<7}  {check.name:<{widest}}  {check.detail}")
        if check.fix is not None:
            write_line(f"{'':<7}  {'':<{widest}}  fix: {check.fix}")
    counts = Counter(check.status for check in checks)
    output.say(", ".join(f"{counts[status]} {status}" for status in CheckStatus if counts[status]))
