"""Looking at a manifest without doing anything, and telling what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from orchestrator.api.checking import Asked, check, check_manifest
from orchestrator.api.settings import settings_of_flags
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.work.look import look_shown, write_film_page
from orchestrator.domain.errors import ManifestError, OrchestratorError, UsageError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.manifest import (
    Problem,
    Severity,
)

SHOWN_PROBLEMS = 50


class ProblemReport:
    """Prints the problems of a manifest, errors first, up to a limit."""

    def __init__(self, output: Output) -> None:
        self.problems: list[Problem] = []
        self.was_called = False
        self._output = output

    def __call__(self, problems: Sequence[Problem]) -> None:
        """Print *problems*: errors always, warnings unless quiet."""
        self.was_called = True
        self.problems = list(problems)
        ordered = sorted(problems, key=lambda problem: problem.severity is not Severity.ERROR)
        for problem in islice(ordered, SHOWN_PROBLEMS):
            write_line = self._output.complain if problem.severity is Severity.ERROR else self._output.note
            write_line(str(problem))
        if len(ordered) > SHOWN_PROBLEMS:
            self._output.note(f"... and {len(ordered) - SHOWN_PROBLEMS} more ({counted(problems)} in all)")
        if any(problem.severity is Severity.ERROR for problem in problems):
            self._output.known["problems"] = [problem.as_dict() for problem in problems]


def counted(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    counts = Counter(problem.severity for problem in problems)
    return ", ".join(
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in Severity
        if counts[severity]
    )


def refuse_invalid(invocation: Invocation, asked: Asked, report: ProblemReport) -> None:
    """Raise ManifestError when the manifest has errors; of the settings only the flags count."""
    settings = settings_of_flags(invocation.flags).values
    _, problems = check_manifest(asked.open(settings), with_media=settings.media_check)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if errors:
        report(problems)
        raise ManifestError(f"{asked.path} has {errors} error{'' if errors == 1 else 's'}; nothing was sent")


def validate_manifest(invocation: Invocation, asked: Asked, report: Path | None = None) -> ExitCode:
    """Print every problem of the manifest, and write the page *report* about its films.

    Nothing is asked but files, and the journal about the rows of results.
    """
    output = invocation.output
    effective = invocation.settings(beside=asked.path)
    settings = effective.values
    if report is not None and settings.look == "off":
        raise UsageError("--report needs --look", hint="add --look quick")
    checked = check(asked, settings, lambda films: look_shown(films, settings, output))
    problems, looked = checked.problems, checked.looked
    if report is not None and looked:
        write_film_page(report, checked.manifest.batch_name, looked, problems, jobs=settings.jobs)
        output.note(f"the page about {len(looked)} films: {report}")
    if output.is_json:
        listed = [problem.as_dict() for problem in problems]
        output.document(
            {"schema": SCHEMA, "ok": checked.is_valid, "entries": checked.entries, "problems": listed}
        )
    else:
        for problem in problems:
            output.say(str(problem))
        verdict = counted(problems) or "no problems"
        output.say(
            f"{asked.path}: {checked.entries} valid entr{'y' if checked.entries == 1 else 'ies'}, {verdict}"
        )
    return ExitCode.OK if checked.is_valid else ExitCode.MANIFEST_INVALID


def is_setting_wrong(error: OrchestratorError) -> bool:
    """True for errors that are reported after those of the manifest, which is fixed first."""
    return error.kind in {"configuration", "credentials"}
