"""The output of a command: results and tables on stdout, questions and notes on stderr, or one JSON document."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from orchestrator.cli.process import StoppedBySignal
from orchestrator.domain.errors import ExitCode, OrchestratorError, StoppedError, UsageError, exit_code_of
from orchestrator.domain.untrusted_text import disarmed_json, shown
from orchestrator.observe.streams import failure_of

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
#: Terminal columns that a wide table needs.
_WIDE_COLUMNS = 100
#: Items of a long list that are printed in one write.
CHUNK_ITEMS = 500
#: The encoding of documents and tables for programs (RFC 8259 section 8.1 for JSON).
_DATA_ENCODING = "utf-8"


class Output:
    """The two streams of one command; `standard_streams` makes them never fail on write.

    With `is_json`, stdout contains one document and nothing else; with `is_quiet`, only errors are printed. `known`
    holds the fields of the command's document that are known if an error ends it early; `is_verbose` and `log_file`
    say where the details of an unexpected error go. `is_record` is set by commands that have side effects: their
    output is the record of these, and a reader that closes stdout early has missed it.
    """

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self.is_json = False
        self.is_quiet = False
        self.is_verbose = False
        self.is_record = False
        self.log_file: Path | None = None
        self.known: dict[str, object] = {}
        self._stdout = stdout
        self._stderr = stderr
        #: The stream for results for people.
        self._text = stdout
        self._has_document = False

    @property
    def is_narrow(self) -> bool:
        """True on a terminal that is too narrow for a wide table."""
        return self.is_terminal and self.console().width < _WIDE_COLUMNS

    @property
    def is_terminal(self) -> bool:
        """True when the result for people goes to a terminal."""
        return self._text.isatty()

    def give_stdout_away(self) -> int:
        """Return a descriptor of stdout for lines of another kind; output for people goes to stderr from now on.

        Raises UsageError if stdout is needed for a document.
        """
        if self.is_json:
            raise UsageError(
                "--events - and --json both write to stdout", hint="use --events FILE, or leave out --json"
            )
        self._text = self._stderr
        return os.dup(self._stdout.fileno())

    def console(self) -> Console:
        """Return a rich console on the stream for people."""
        from rich.console import Console  # noqa: PLC0415 - slow to load, and not every command prints

        return Console(file=self._text, highlight=False, soft_wrap=True)

    def say(self, text: str = "") -> None:
        """Print a line of the result for people."""
        if not (self.is_json or self.is_quiet):
            self.write(shown(text) + "\n")

    def note(self, text: str) -> None:
        """Print a remark about the result on stderr, unless quiet."""
        if not self.is_quiet:
            self.complain(text)

    def complain(self, text: str) -> None:
        """Print on stderr, even when quiet."""
        _write_to(self._stderr, shown(text) + "\n")

    def overwrite(self, text: str) -> None:
        """Overwrite the last line on a terminal's stderr with *text*."""
        _write_to(self._stderr, f"\r\x1b[K{shown(text)}")

    def document(self, document: Mapping[str, Any]) -> None:
        """Print the one document of `--json`."""
        self._has_document = True
        self.write_data(dumped(document) + "\n")

    async def stream_document(
        self, head: Mapping[str, Any], name: str, items: AsyncIterable[Mapping[str, Any]]
    ) -> None:
        """Print a document whose last field, *name*, is a list that may be too long to hold in memory."""
        self._has_document = True
        self.write_data(f"{dumped(head)[:-1]}, {dumped(name)}: [")
        separator = ""
        async for chunk in _chunks(items):
            self.write_data(separator + dumped(chunk)[1:-1])
            separator = ", "
        self.write_data("]}\n")

    def write(self, text: str) -> None:
        """Write *text* for people without escaping."""
        _write_to(self._text, text)

    def write_data(self, text: str) -> None:
        """Write *text* for programs to stdout, in UTF-8 whatever its encoding for people is."""
        if isinstance(self._stdout, io.TextIOWrapper) and self._stdout.encoding != _DATA_ENCODING:
            self._stdout.reconfigure(encoding=_DATA_ENCODING, errors="backslashreplace")
        _write_to(self._stdout, text)

    def fail(self, error: OrchestratorError) -> None:
        """Print why the command failed: a sentence and a hint, and the document unless one was already printed."""
        self.print_error(error)
        self._document_failure(error, exit_code_of(error))

    def print_stop(self, stop: StoppedBySignal) -> None:
        """Print that a signal ended the command, which is not an error, and the document unless one was printed."""
        hint = "run the same command again to continue"
        self.complain(f"{stop.sentence}; {hint}")
        self._document_failure(StoppedError(stop.sentence, hint=hint), stop.exit_code)

    def _document_failure(self, error: OrchestratorError, exit_code: int) -> None:
        if self.is_json and not self._has_document:
            head = {"schema": SCHEMA, **self.known, "exit_code": exit_code}
            self.document({**head, "error": error.document})

    def print_error(self, error: OrchestratorError) -> None:
        """Print the error's sentence and its hint on stderr."""
        request = error.request_id and f"request {error.request_id}"
        about = ", ".join(filter(None, (error.code, request)))
        self.complain(f"error: {error.message}{f' ({about})' if about else ''}")
        if error.hint:
            self.complain(f"hint: {error.hint}")

    def code_after(self, exit_code: int) -> int:
        """Return *exit_code* if everything was written to stdout; otherwise print an error and turn 0 into 5."""
        failure = failure_of(self._stdout)
        has_enough = isinstance(failure, BrokenPipeError) and not self.is_record
        if failure is None or has_enough:
            return exit_code
        self.complain(f"error: the result cannot be written to stdout: {failure.strerror}")
        self.complain("hint: run the same command again with another stdout; finished work is not repeated")
        return exit_code or ExitCode.TEMPORARY


def _write_to(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


async def _chunks(items: AsyncIterable[Mapping[str, Any]]) -> AsyncIterator[list[Mapping[str, Any]]]:
    """Yield *items* in chunks of some hundreds: writing each item separately would cost a system call each."""
    chunk: list[Mapping[str, Any]] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == CHUNK_ITEMS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def dumped(value: object) -> str:
    """Return *value* as JSON: names in any script are kept, but nothing that a terminal would interpret."""
    return disarmed_json(json.dumps(value, ensure_ascii=False))


def can_ask(output: Output) -> bool:
    """True when there is a terminal for questions and no document is being written."""
    # sys.stdin is None if it was closed when Python started.
    return not output.is_json and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def require_consent(output: Output, *, is_yes: bool) -> None:
    """Raise UsageError unless --yes was given or there is a terminal to ask on."""
    if not (is_yes or can_ask(output)):
        raise UsageError("cannot ask for confirmation: not a terminal", hint="add --yes")


def is_agreed(output: Output, question: str, *, is_yes: bool) -> bool:
    """True when --yes was given or the user at the terminal agrees; raises UsageError without a terminal."""
    require_consent(output, is_yes=is_yes)
    if is_yes:
        return True
    sys.stderr.write(f"{shown(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


Row = Sequence[str]

_STYLES = {
    "confirmed": "green",
    "submitted": "green",
    "trained": "green",
    "failed": "red",
    "review_failed": "red",
    "cancelled": "dim",
    "skip": "dim",
    "decide": "yellow",
}


def print_table(output: Output, headings: Row, rows: Sequence[Row]) -> None:
    """Print *rows* under *headings*; the last column takes the remaining width."""
    if output.is_json or output.is_quiet:
        return
    if output.is_terminal:
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to load, and only terminals need it
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        # On a narrow terminal the widest columns are folded; the first column, which names the row, shrinks last.
        table.add_column(headings[0], overflow="ellipsis", no_wrap=True)
        for heading in headings[1:]:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(shown(cell), style=_STYLES.get(cell, "")) for cell in row))
        output.console().print(table)
    else:
        lines = [list(map(shown, line)) for line in (headings, *rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            output.say("  ".join(cells).rstrip())
