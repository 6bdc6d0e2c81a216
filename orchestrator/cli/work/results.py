"""`results`: writes a batch as a CSV table with each entry's result, to a file completely or not at all."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import aiofiles
import anyio
from anyio import to_thread

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_async
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries, read_journal
from orchestrator.cli.work.listings import review_text
from orchestrator.domain.errors import ConfigurationError, ExitCode
from orchestrator.domain.quantities import moment
from orchestrator.domain.untrusted_text import one_line, shown
from orchestrator.journal.journal import open_journal
from orchestrator.journal.reading import JournalReader
from orchestrator.journal.records import BatchRecord, EntryRecord
from orchestrator.manifest import COLUMNS, RESULT_COLUMNS, csv_cells
from orchestrator.manifest.cells import protected, to_workbook
from orchestrator.manifest.fields import PERSONAL_FIELDS
from orchestrator.observe.streams import open_at_once
from orchestrator.preflight.rulebook import rule_of_review

#: Switching threads for each line would cost more than the line.
_BLOCK_LINES = 500
#: Excel detects UTF-8 by it; without it, Chinese is shown in the wrong encoding.
_BYTE_ORDER_MARK = "\ufeff"
WORKBOOK_SUFFIX = ".xlsx"
#: Columns with numbers, which people sum up; all others are text, even if they look like numbers.
NUMBER_COLUMNS = frozenset({"bytes", "seconds", "attempts"})
#: Excel's limits of characters per cell and rows per sheet.
_MOST_CHARACTERS = 32_767
_MOST_ROWS = 1_048_576
_TEXT_FORMAT = {"num_format": "@"}
_QUOTE = '"'
_TO_QUOTE = re.compile(r'[",;\t\r\n|]|^\s|\s$')


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsRequest:
    """A batch of the journal, and the ids of its selected entries, None for all."""

    known: KnownBatch
    only: Collection[str] | None = None

    async def entries(self, journal: JournalReader) -> AsyncIterator[EntryRecord]:
        """Yield the records of the selected entries, in manifest order."""
        async for record in journal.entries(self.known.record.batch):
            if self.only is None or record.entry_id in self.only:
                yield record


def show_results(
    invocation: Invocation, name: str, file: Path | None, patterns: Collection[str] | None = None
) -> ExitCode:
    """Write the results of the batch called *name* to *file* or stdout, for all entries or those matching *patterns*.

    Raises UsageError for a pattern without a match, ConfigurationError for a file that cannot be written.
    """
    if file is not None and file.suffix.lower() == WORKBOOK_SUFFIX:
        check_can_write()
    batch = known_batch(invocation, name)
    only = (
        read_journal(batch.effective, lambda journal: matching_entries(journal, batch.record, patterns))
        if patterns is not None
        else None
    )
    wanted = ResultsRequest(known=batch, only=only)
    output = invocation.output
    if file is not None:

        async def write_file() -> int:
            if file.suffix.lower() == WORKBOOK_SUFFIX:
                rows = _rows(wanted)
                content, count = await workbook_of(rows, NUMBER_COLUMNS, folder=file.parent)
                async with written_file(file, encoding=None) as write:
                    await write(content)
                return count
            async with written_file(file) as write:
                await write(_BYTE_ORDER_MARK)
                return await _write_table(wanted, write)

        count = run_async(write_file)
        output.note(f"wrote {count} {'entry' if count == 1 else 'entries'} to {file}")
    elif not output.is_json:

        async def write(text: str) -> None:
            # Programs get the manifest's texts without escaping.
            if output.is_terminal:
                text = "".join(f"{shown(line)}\n" for line in text.splitlines())
            output.write_data(text)

        run_async(_write_table, wanted, write)
    if output.is_json:
        run_async(_write_document, wanted, output, None if file is None else str(file.absolute()))
    return ExitCode.OK


async def _write_table(wanted: ResultsRequest, write: Write) -> int:
    """Write the table block by block; return the number of entries."""
    count = -1  # the header is not an entry
    lines: list[str] = []
    async for cells in _rows(wanted):
        lines.append(
            ",".join(
                f'"{cell.replace(_QUOTE, _QUOTE * 2)}"' if _TO_QUOTE.search(cell) else cell for cell in cells
            )
            + "\n"
        )
        count += 1
        if len(lines) >= _BLOCK_LINES:
            await write("".join(lines))
            lines.clear()
    await write("".join(lines))
    return count


async def _rows(wanted: ResultsRequest) -> AsyncIterator[list[str]]:
    """Yield the header, then a row of cells for each entry."""
    batch = wanted.known.record
    async with open_journal(wanted.known.effective.values.state, clock=time.time) as journal:
        # The manifest's columns that any entry uses, in the order of the fields, then the batch's columns and ours.
        used = {"id"}
        async for record in wanted.entries(journal):
            used.update(column for column, cell in csv_cells(record.avatar).items() if cell)
        known_columns = (column for column in COLUMNS if column in used)
        columns = [*known_columns, *_batch_cells(batch), *RESULT_COLUMNS]
        yield columns
        async for record in wanted.entries(journal):
            cells = {**csv_cells(record.avatar), **_batch_cells(batch), **_result_cells(record)}
            cells["id"] = protected(record.entry_id)
            yield [cells[column] for column in columns]


def _batch_cells(batch: BatchRecord) -> dict[str, str]:
    """Return the cells by which the table, used as a manifest, means the same batch and the last run's submit."""
    return {"batch_name": protected(batch.name), **({"submit": "true"} if batch.is_submit_wanted else {})}


def _result_cells(record: EntryRecord) -> dict[str, str]:
    outcome = _outcome(record)
    error = record.error
    cells = {
        **outcome,
        "error_kind": error and error.kind,
        "error_code": error and error.code,
        "error_message": error and error.message,
        "request_id": error and error.request_id,
        "review_reason": review_text(record),
        "review_code": record.review_code,
        "review_rule": _review_rule(record),
    }
    return {
        column: "" if cells[column] is None else protected(shown(one_line(str(cells[column]))))
        for column in RESULT_COLUMNS
    }


def _review_rule(record: EntryRecord) -> str | None:
    """Return the rule that matches the reviewer's reason or code."""
    if record.review_reason is None and record.review_code is None:
        return None
    return rule_of_review(record.review_reason, record.review_code)


def _outcome(record: EntryRecord) -> dict[str, object]:
    began, changed = record.started_at, record.confirmed_at or record.updated_at
    return {
        "state": record.state.value,
        "job_id": record.job_id,
        "bytes": record.bytes,
        # From its first start until its job had all files, or else until its last change.
        "seconds": None if began is None else round(max(changed - began, 0.0), 1),
        "started_at": None if began is None else moment(began),
        "finished_at": (None if record.confirmed_at is None else moment(record.confirmed_at)),
        "attempts": record.attempts,
        "delivered": record.delivered,
    }


async def _write_document(wanted: ResultsRequest, output: Output, file: str | None) -> None:
    batch = wanted.known.record
    head = {
        "schema": SCHEMA,
        "batch": batch.name,
        "digest": batch.batch,
        "file": file,
    }
    async with open_journal(wanted.known.effective.values.state, clock=time.time) as journal:
        await output.stream_document(head, "results", _documents(wanted.entries(journal)))


async def _documents(records: AsyncIterator[EntryRecord]) -> AsyncIterator[dict[str, object]]:
    async for record in records:
        avatar = record.avatar.model_dump(mode="json", exclude_none=True, exclude=set(PERSONAL_FIELDS))
        yield {
            "entry": record.entry_id,
            "avatar": avatar,
            **_outcome(record),
            "service_state": record.service_state,
            "review_reason": record.review_reason,
            "review_code": record.review_code,
            "review_rule": _review_rule(record),
            "error": None if record.error is None else record.error.as_dict(),
        }


Write = Callable[[Any], Awaitable[object]]


@asynccontextmanager
async def written_file(path: Path, *, encoding: str | None = "utf-8") -> AsyncIterator[Write]:
    """Write text, or bytes if *encoding* is None, to *path*, readable only by its owner.

    The file contains either all of the new content or the old content. A device or a pipe is written directly; for
    a symbolic link, its target is replaced. Raises ConfigurationError if the file cannot be written.
    """
    try:
        target = await to_thread.run_sync(_target, path)
        if target is None:
            descriptor = await to_thread.run_sync(open_at_once, path, os.O_WRONLY)
            async with _opened(descriptor, encoding) as stream:
                yield stream.write
                await stream.flush()
        else:
            async with _replaced(target, encoding) as write:
                yield write
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path} cannot be written: {reason}") from None


def _target(path: Path) -> Path | None:
    """Return the file to replace; None for a path that is not a regular file, or names a stream, like /dev/stdout."""
    real = Path(os.path.realpath(path))
    folder = os.path.realpath(path.parent)
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_file = True
    return real if is_file and folder != "/dev" and not folder.startswith("/proc/") else None


def _opened(descriptor: int, encoding: str | None) -> AbstractAsyncContextManager[Any]:
    if encoding is None:
        return aiofiles.open(descriptor, "wb")
    return aiofiles.open(descriptor, "w", encoding=encoding, newline="")


@asynccontextmanager
async def _replaced(path: Path, encoding: str | None) -> AsyncIterator[Write]:
    """Write to a temporary file beside *path* that replaces it once it is complete."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        async with _opened(descriptor, encoding) as stream:
            yield stream.write
            await stream.flush()
            await to_thread.run_sync(os.fsync, stream.fileno())
        await anyio.Path(name).replace(path)
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(FileNotFoundError):
            await anyio.Path(name).unlink()
        raise


def check_can_write() -> None:
    """Raise ConfigurationError if the extra for writing workbooks is not installed."""
    if find_spec("xlsxwriter") is None:
        raise ConfigurationError(
            "writing .xlsx needs the extra excel", hint="`pip install 'metastudio-orchestrator[excel]'`"
        )


async def workbook_of(
    rows: AsyncIterable[list[str]], numbers: Collection[str], *, folder: Path
) -> tuple[bytes, int]:
    """Return the workbook of *rows*, the first of which is the header, and the number of the other rows.

    Cells are as in a CSV file; in the columns *numbers* they become numbers. Rows are buffered in a file in
    *folder*, so that memory holds only one. Raises ConfigurationError for more rows than a sheet can hold.
    """
    import xlsxwriter  # noqa: PLC0415 - an extra

    content = BytesIO()
    count = 0
    # XlsxWriter's own detection of links, formulas and numbers would turn phone numbers into numbers.
    with xlsxwriter.Workbook(content, {"constant_memory": True, "tmpdir": str(folder)}) as workbook:
        sheet = workbook.add_worksheet("results")
        sheet.freeze_panes(1, 0)
        text = workbook.add_format(_TEXT_FORMAT)
        header: list[str] = []
        async for cells in rows:
            if count >= _MOST_ROWS:
                raise ConfigurationError("a sheet has no room for as many entries", hint="write a .csv file")
            header = header or cells
            for column, cell in enumerate(cells):
                if count and cell and header[column] in numbers:
                    sheet.write_number(count, column, float(cell))
                elif cell:
                    sheet.write_string(count, column, to_workbook(cell)[:_MOST_CHARACTERS], text)
            count += 1
        # Text typed into an empty cell later must stay text too.
        for column, name in enumerate(header):
            sheet.set_column(column, column, None, None if name in numbers else text)
    return content.getvalue(), count - 1
