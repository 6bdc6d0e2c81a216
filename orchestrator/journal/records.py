"""The records of the journal: plain values, one class per kind of row, and the allowed shapes of rows.

A damaged or edited journal is detected before its data is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType, TracebackType
from typing import Any, NamedTuple, get_args, get_type_hints

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint, Segment
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.entries import BatchKey, Create, normal
from orchestrator.domain.errors import JournalError
from orchestrator.domain.evidence import Confirmation, Evidence, Receipt
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.states import Change, EntryState

#: The hint for a journal that cannot be read.
DAMAGE_HINT = (
    "move the file away and run with --on-existing adopt, which takes over the jobs already made; "
    "or name another place with --state"
)


class RowShape:
    """The allowed types of a table's rows, column by column; SQLite itself stores any type.

    *annotations* are the type annotations of the columns, such as `float | None`.
    """

    def __init__(self, table: str, annotations: Iterable[object]) -> None:
        self._table = table
        #: The types that a driver may return: SQLite has no booleans, and may store a whole float as an integer.
        stored: dict[object, set[object]] = {bool: {bool, int, NoneType}, float: {float, int}}
        kinds = [get_args(annotation) or (annotation,) for annotation in annotations]
        self._allowed = [{found for kind in each for found in stored.get(kind, {kind})} for each in kinds]
        self._seen: set[tuple[type, ...]] = set()

    def check(self, row: Sequence[object]) -> None:
        """Raise JournalError for a row that this program cannot have written."""
        types = tuple(map(type, row))
        # The rows of a table have few distinct combinations of types: of tens of thousands, about ten are checked.
        if types in self._seen:
            return
        if not all(found in allowed for found, allowed in zip(types, self._allowed, strict=True)):
            raise damaged(f"a row of the table {self._table}")
        self._seen.add(types)


#: The errors of parsing a stored value that is not in this program's format.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class intact:  # noqa: N801 - reads as a word of the `with` statement
    """A context manager that raises JournalError when the stored *what* is not in the form this program writes.

    The error does not quote the stored text: it may be part of an upload URL.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Replace a parsing error of the block with JournalError."""
        if isinstance(error, UNREADABLE):
            raise damaged(self._what) from None


def damaged(what: str) -> JournalError:
    """Return the error for *what*, which can no longer be read."""
    return JournalError(f"the journal is damaged: {what} cannot be read", hint=DAMAGE_HINT)


def types_of(record: type, columns: Iterable[str], **others: object) -> list[object]:
    """Return the annotations of the fields of *record* for *columns*; those in *others* take precedence."""
    annotations = {**get_type_hints(record), **others}
    return [annotations[column] for column in columns]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch; `batch` is the digest of its key."""

    batch: str
    endpoint: str
    project_id: str
    name: str
    manifest_path: str | None
    is_submit_wanted: bool
    created_at: float
    last_run_id: str | None
    last_run_at: float | None
    last_exit_code: int | None
    submit_requires: str | None = None
    settings: str | None = None
    """JSON with the decisions for all workers of a fleet; None for a batch of a single machine."""

    @property
    def key(self) -> BatchKey:
        """The key that identifies the batch among all batches."""
        return BatchKey(self.endpoint, self.project_id, self.name, known_digest=self.batch)

    def is_named(self, name: str) -> bool:
        """True when *name* is the batch's name, even if its letters are composed differently (NFC, NFD)."""
        return normal(self.name) == normal(name)


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """The error of a failed entry, in the form of design section 4."""

    kind: str
    code: str | None
    message: str
    request_id: str | None
    hint: str | None

    def columns(self) -> dict[str, str | None]:
        """Return the columns of the table `entries` that hold the error."""
        return {f"error_{name}": value for name, value in self.as_dict().items()}

    def as_dict(self) -> dict[str, str | None]:
        """Return the error object of `--json`."""
        return {
            "kind": self.kind,
            "code": self.code,
            "message": self.message,
            "request_id": self.request_id,
            "hint": self.hint,
        }


class EntryRecord(NamedTuple):
    """One entry with its facts; `epoch` is the fencing number that its writes must carry.

    It is a tuple because tens of thousands are read at once. Fields that the table stores in another form come last.
    """

    batch: str
    entry_id: str
    position: int
    spec: str
    files: str
    epoch: int
    job_id: str | None
    create_tag: str | None
    created_at: float | None
    confirm_sent_at: float | None
    confirmed_at: float | None
    submit_sent_at: float | None
    submitted_at: float | None
    service_state: str | None
    review_code: str | None
    review_reason: str | None
    delivered: str | None
    attempts: int
    started_at: float | None
    updated_at: float
    plan_before: str | None
    job_updated_at: float | None
    state: EntryState
    change_wanted: Change | None
    training_confirm: Confirmation | None
    action_confirm: Confirmation | None
    is_submit_wanted: bool
    error: ErrorRecord | None

    @property
    def avatar(self) -> Avatar:
        """The avatar as the manifest gave it, with absolute paths."""
        with intact(f"what entry {self.entry_id} is"):
            return avatar_of(self.spec)

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The entry's files as they were planned."""
        try:
            # Read many times in an entry's life, so this builds neither a context manager nor a message.
            return assets_of(self.files)
        except UNREADABLE:
            raise damaged(f"the files of entry {self.entry_id}") from None

    @property
    def bytes(self) -> int:
        """The total length of all assets."""
        return sum(asset.size for asset in self.assets)


class Twin(NamedTuple):
    """An entry of another batch with the same id and the same files as a new entry."""

    batch: BatchRecord
    entry: EntryRecord


class OutcomeRecord(NamedTuple):
    """The outcome of one entry."""

    entry_id: str
    state: EntryState
    job_id: str | None
    error: ErrorRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """One segment with the progress of its upload.

    `started_at` is when a PUT of it may first have been sent, `stored_at` when its receipt came. Both are in seconds
    since the epoch, None when it has not happened.
    """

    kind: AssetKind
    segment: Segment
    url: PresignedUrl | None
    started_at: float | None = None
    stored_at: float | None = None
    receipt: Receipt | None = None


def files_json(assets: Iterable[Asset], *, with_inodes: bool = True) -> str:
    """Return the assets in stored form; without inodes when hosts share the journal, as each may see its own."""
    rows = (
        [
            asset.kind.value,
            asset.path,
            asset.fingerprint.size,
            asset.fingerprint.mtime_ns,
            asset.fingerprint.inode if with_inodes else 0,
        ]
        for asset in assets
    )
    return json.dumps(list(rows), ensure_ascii=False)


@lru_cache(maxsize=256)
def avatar_of(text: str) -> Avatar:
    """Return the avatar that the journal stores as *text*; raises ValueError for anything else."""
    return Avatar.model_validate_json(text)


@lru_cache(maxsize=256)
def assets_of(text: str) -> tuple[Asset, ...]:
    """Return the assets that `files_json` wrote as *text*; raises ValueError, or TypeError, for anything else."""
    assets = []
    for kind, path, size, mtime_ns, inode in json.loads(text):
        if not (isinstance(path, str) and type(size) is type(mtime_ns) is type(inode) is int):
            raise TypeError
        assets.append(Asset(AssetKind(kind), path, Fingerprint(size, mtime_ns, inode)))
    return tuple(assets)


def are_same_files(one: Sequence[Asset], other: Sequence[Asset]) -> bool:
    """True when both have the same kinds of files, with equal lengths and equal paths or, as copies, equal mtimes."""
    by_kind = {asset.kind: asset for asset in other}
    return {asset.kind for asset in one} == by_kind.keys() and all(
        asset.size == by_kind[asset.kind].size
        and (
            asset.path == by_kind[asset.kind].path
            or asset.fingerprint.mtime_ns == by_kind[asset.kind].fingerprint.mtime_ns
        )
        for asset in one
    )


def plan_columns(spec: str, assets: Sequence[Asset], *, with_inodes: bool) -> dict[str, object]:
    """Return the columns of the table `entries` that hold the plan; *with_inodes* is passed to `files_json`."""
    files = files_json(assets, with_inodes=with_inodes)
    return {"spec": spec, "files": files, "bytes": sum(asset.size for asset in assets)}


def kept_plan(record: EntryRecord) -> str:
    """Return the plan that the entry's job was made from, to restore it if a change of the job is refused."""
    return record.plan_before or json.dumps([record.spec, record.files], ensure_ascii=False)


def columns_of_kept_plan(text: str) -> dict[str, object]:
    """Return the columns of the table `entries` that restore the plan in *text*, written by `kept_plan`."""
    with intact("the plan before a change"):
        spec, files = json.loads(text)
        return {"spec": spec, "files": files, "bytes": sum(asset.size for asset in assets_of(files))}


def state_in(text: str) -> EntryState:
    """Return the state that the journal stores as *text*; raises JournalError."""
    with intact("the state of an entry"):
        return EntryState(text)


#: The columns of the table `batches` that `batch_record` takes, in its order.
BATCH_COLUMNS = tuple(BatchRecord.__slots__)
_BATCH_SHAPE = RowShape("batches", types_of(BatchRecord, BATCH_COLUMNS))


def batch_record(row: Sequence[Any]) -> BatchRecord:
    """Build the record from a row of BATCH_COLUMNS; raises JournalError if it is damaged."""
    _BATCH_SHAPE.check(row)
    columns = dict(zip(BATCH_COLUMNS, row, strict=True))
    return BatchRecord(**{**columns, "is_submit_wanted": bool(columns["is_submit_wanted"])})


ERROR_COLUMNS = ("error_kind", "error_code", "error_message", "error_request_id", "error_hint")
#: The columns of the table `entries` that `entry_record` takes, in its order.
ENTRY_COLUMNS = (*EntryRecord._fields[:-1], *ERROR_COLUMNS)
_KEPT_AS_IT_IS = EntryRecord._fields.index("state")
_IN_OTHER_FORM: dict[str, object] = {
    "state": str,
    **dict.fromkeys(("change_wanted", "training_confirm", "action_confirm"), str | None),
}
_ERROR_TYPES: dict[str, object] = dict.fromkeys(ERROR_COLUMNS, str | None)
_ENTRY_SHAPE = RowShape("entries", types_of(EntryRecord, ENTRY_COLUMNS, **_IN_OTHER_FORM, **_ERROR_TYPES))


def entry_record(row: Sequence[Any]) -> EntryRecord:
    """Build the record from a row of ENTRY_COLUMNS; raises JournalError if it is damaged."""
    _ENTRY_SHAPE.check(row)
    state, change_wanted, training, action, is_submit_wanted, *error = row[_KEPT_AS_IT_IS:]
    try:
        own_form = (
            EntryState(state),
            Change(change_wanted) if change_wanted else None,
            Confirmation(training) if training else None,
            Confirmation(action) if action else None,
            bool(is_submit_wanted),
            _error_record(error),
        )
    except ValueError:
        raise damaged(f"the state of entry {row[1]}") from None
    return EntryRecord._make((*row[:_KEPT_AS_IT_IS], *own_form))


def _error_record(columns: Sequence[Any]) -> ErrorRecord | None:
    return ErrorRecord(*columns) if columns[0] is not None else None


#: The columns of the table `entries` that `outcome_record` takes, in its order.
OUTCOME_COLUMNS = ("position", "entry_id", "state", "job_id", *ERROR_COLUMNS)
_OUTCOME_SHAPE = RowShape("entries", types_of(EntryRecord, OUTCOME_COLUMNS, **_IN_OTHER_FORM, **_ERROR_TYPES))


def outcome_record(row: Sequence[Any]) -> OutcomeRecord:
    """Build the record from a row of OUTCOME_COLUMNS; raises JournalError if it is damaged."""
    _OUTCOME_SHAPE.check(row)
    _, entry_id, state, job_id, *error = row
    return OutcomeRecord(entry_id, state_in(state), job_id, _error_record(error))


#: The types of the columns that `create_of` takes, in its order.
_CREATE_SHAPE = RowShape("creates", [str, str, str, float, str | None, str | None, str, str | None])


def create_of(row: Sequence[Any]) -> Create:
    """Build the create from its row, its batch's name and the entry's spec, which may be missing.

    Raises JournalError if the row is damaged.
    """
    _CREATE_SHAPE.check(row)
    batch, entry_id, tag, made_at, name, job_id, batch_name, spec = row
    with intact(f"what entry {entry_id} is"):
        names = [name, json.loads(spec).get("name") if spec else None]
    return Create(
        batch=batch,
        entry_id=entry_id,
        tag=tag,
        made_at=float(made_at),
        names=frozenset(filter(None, names)),
        batch_name=batch_name,
        job_id=job_id,
    )


#: The columns of the table `segments` that `segment_record` takes, in its order.
SEGMENT_COLUMNS = (
    *("asset", "part_number", "offset", "length", "url", "started_at", "stored_at"),
    *("etag", "md5", "is_verified", "evidence"),
)


_SEGMENT_TYPES: dict[str, object] = {
    "asset": str,
    "part_number": int,
    "offset": int,
    "length": int,
    "url": str | None,
    **dict.fromkeys(("etag", "md5"), str | None),
    "is_verified": bool,
    "evidence": str | None,
}
_SEGMENT_SHAPE = RowShape("segments", types_of(SegmentRecord, SEGMENT_COLUMNS, **_SEGMENT_TYPES))


def segment_record(row: Sequence[Any]) -> SegmentRecord:
    """Build the record from a row of SEGMENT_COLUMNS; raises JournalError if it is damaged."""
    _SEGMENT_SHAPE.check(row)
    with intact("a row of the table segments"):
        asset, part_number, offset, length, url, started_at, stored_at, etag, md5, is_verified, evidence = row
        # Rows written before the evidence was stored have receipts only from answers of the store.
        known = Evidence(evidence) if evidence else Evidence.ACKNOWLEDGED
        receipt = Receipt(etag=etag, md5=md5, is_verified=bool(is_verified), evidence=known)
        return SegmentRecord(
            kind=AssetKind(asset),
            segment=Segment(part_number, offset, length),
            url=PresignedUrl(url) if url else None,
            started_at=started_at,
            stored_at=stored_at,
            receipt=receipt if stored_at is not None else None,
        )


def segment_row(record: EntryRecord, planned: SegmentRecord) -> dict[str, object]:
    """Return the row of the table `segments` for *planned*."""
    receipt = planned.receipt
    return {
        "batch": record.batch,
        "entry_id": record.entry_id,
        "asset": planned.kind.value,
        "part_number": planned.segment.part_number,
        "offset": planned.segment.offset,
        "length": planned.segment.length,
        "url": planned.url.reveal() if planned.url else None,
        "started_at": planned.started_at,
        "stored_at": planned.stored_at,
        "etag": receipt.etag if receipt else None,
        "md5": receipt.md5 if receipt else None,
        "is_verified": receipt.is_verified if receipt else None,
        "evidence": receipt.evidence.value if receipt else None,
    }
