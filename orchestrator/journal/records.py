"""What the journal hands out: plain values, one class per kind of row, and what rows may look like.

A damaged or edited journal is noticed before anything is made of it.
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
from orchestrator.domain.entries import BatchKey, Create
from orchestrator.domain.errors import JournalError
from orchestrator.domain.evidence import Confirmation, Evidence, Receipt
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.states import Change, EntryState

#: What to do about a journal that cannot be read.
DAMAGE_HINT = (
    "move the file away and run with --on-existing adopt, which takes over the jobs already made; "
    "or name another place with --state"
)


class RowShape:
    """The types that a row of a table may have, column by column; SQLite keeps whatever was put there.

    *annotations* are those of the columns, such as `float | None`.
    """

    def __init__(self, table: str, annotations: Iterable[object]) -> None:
        self._table = table
        #: As which the driver returns them: SQLite has no booleans, and may keep a whole number without its point.
        stored: dict[object, set[object]] = {bool: {bool, int, NoneType}, float: {float, int}}
        kinds = [get_args(annotation) or (annotation,) for annotation in annotations]
        self._allowed = [{found for kind in each for found in stored.get(kind, {kind})} for each in kinds]
        self._seen: set[tuple[type, ...]] = set()

    def check(self, row: Sequence[object]) -> None:
        """Raise JournalError for a row that this program cannot have written."""
        types = tuple(map(type, row))
        # Rows of a table differ little: of tens of thousands some ten are looked at.
        if types in self._seen:
            return
        if not all(found in allowed for found, allowed in zip(types, self._allowed, strict=True)):
            raise damaged(f"a row of the table {self._table}")
        self._seen.add(types)


#: What reading a value of this program's own form raises when it is not of it.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class intact:  # noqa: N801 - reads as a word of the `with` statement
    """Raise JournalError where the journal's own words for *what* are not those this program writes.

    Nothing of what was found is told: it may be a part of an upload URL.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Read inside."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn what reading raised into the one error."""
        if isinstance(error, UNREADABLE):
            raise damaged(self._what) from None


def damaged(what: str) -> JournalError:
    """The error for *what*, which cannot be read any more."""
    return JournalError(f"the journal is damaged: {what} cannot be read", hint=DAMAGE_HINT)


def types_of(record: type, columns: Iterable[str], **others: object) -> list[object]:
    """What *record* annotates its fields as, for *columns*; those of *others* as they are given."""
    annotations = {**get_type_hints(record), **others}
    return [annotations[column] for column in columns]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch; `counts` are its entries by state."""

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
    """What it decides, whichever host of a fleet works on it, as JSON; None where no fleet does."""

    @property
    def key(self) -> BatchKey:
        """What identifies it among all batches."""
        return BatchKey(self.endpoint, self.project_id, self.name, known_digest=self.batch)


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """Why an entry failed, in the form of design section 4."""

    kind: str
    code: str | None
    message: str
    request_id: str | None
    hint: str | None

    def columns(self) -> dict[str, str | None]:
        """The columns of the table `entries` that hold it."""
        return {f"error_{name}": value for name, value in self.as_dict().items()}

    def as_dict(self) -> dict[str, str | None]:
        """The error object of `--json`."""
        return {
            "kind": self.kind,
            "code": self.code,
            "message": self.message,
            "request_id": self.request_id,
            "hint": self.hint,
        }


class EntryRecord(NamedTuple):
    """One entry with its facts; `epoch` is the fencing number its writes must carry.

    A tuple, as tens of thousands are read at a time. What is not kept as it is comes last.
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
        """The avatar as the manifest gave it, paths absolute."""
        with intact(f"what entry {self.entry_id} is"):
            return avatar_of(self.spec)

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The entry's files as they were planned."""
        try:
            # Read many times in an entry's life, so neither a context nor a text is made for it.
            return assets_of(self.files)
        except UNREADABLE:
            raise damaged(f"the files of entry {self.entry_id}") from None

    @property
    def bytes(self) -> int:
        """The length of all assets together."""
        return sum(asset.size for asset in self.assets)


class Twin(NamedTuple):
    """An entry of another batch with the id and the files of one that is new."""

    batch: BatchRecord
    entry: EntryRecord


class OutcomeRecord(NamedTuple):
    """What has become of one entry."""

    entry_id: str
    state: EntryState
    job_id: str | None
    error: ErrorRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """One segment with what is known of its way.

    `started_at` is when a PUT of it may first have been sent, `stored_at` when its receipt came; both seconds
    since the epoch, None when it has not happened.
    """

    kind: AssetKind
    segment: Segment
    url: PresignedUrl | None
    started_at: float | None = None
    stored_at: float | None = None
    receipt: Receipt | None = None


def files_json(assets: Iterable[Asset], *, with_inodes: bool = True) -> str:
    """The assets as the journal keeps them; without inodes where hosts share it, which may see different ones."""
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
    """The avatar that the journal keeps as *text*; raises ValueError for anything else."""
    return Avatar.model_validate_json(text)


@lru_cache(maxsize=256)
def assets_of(text: str) -> tuple[Asset, ...]:
    """The inverse of `files_json`; raises ValueError, or TypeError, for anything else."""
    assets = []
    for kind, path, size, mtime_ns, inode in json.loads(text):
        if not (isinstance(path, str) and type(size) is type(mtime_ns) is type(inode) is int):
            raise TypeError
        assets.append(Asset(AssetKind(kind), path, Fingerprint(size, mtime_ns, inode)))
    return tuple(assets)


def are_same_files(one: Sequence[Asset], other: Sequence[Asset]) -> bool:
    """True when both have the same kinds of files, each at the same place or as old and as long, as a copy is."""
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
    """The columns of the table `entries` that hold what the manifest says; *with_inodes* as `files_json` has it."""
    files = files_json(assets, with_inodes=with_inodes)
    return {"spec": spec, "files": files, "bytes": sum(asset.size for asset in assets)}


def kept_plan(record: EntryRecord) -> str:
    """The plan that the entry's job was made from, to be put back should a change of it be refused."""
    return record.plan_before or json.dumps([record.spec, record.files], ensure_ascii=False)


def columns_of_kept_plan(text: str) -> dict[str, object]:
    """The columns of the table `entries` that put back what `kept_plan` returned."""
    with intact("the plan before a change"):
        spec, files = json.loads(text)
        return {"spec": spec, "files": files, "bytes": sum(asset.size for asset in assets_of(files))}


def state_in(text: str) -> EntryState:
    """The state that the journal calls *text*; raises JournalError."""
    with intact("the state of an entry"):
        return EntryState(text)


#: The columns of the table `batches` that `batch_record` takes, in its order.
BATCH_COLUMNS = tuple(BatchRecord.__slots__)
_BATCH_SHAPE = RowShape("batches", types_of(BatchRecord, BATCH_COLUMNS))


def batch_record(row: Sequence[Any]) -> BatchRecord:
    """Build the record from a row of BATCH_COLUMNS; raises JournalError where it is damaged."""
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
    """Build the record from a row of ENTRY_COLUMNS; raises JournalError where it is damaged."""
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
    """Build the record from a row of OUTCOME_COLUMNS; raises JournalError where it is damaged."""
    _OUTCOME_SHAPE.check(row)
    _, entry_id, state, job_id, *error = row
    return OutcomeRecord(entry_id, state_in(state), job_id, _error_record(error))


#: The types of what `create_of` takes, in its order.
_CREATE_SHAPE = RowShape("creates", [str, str, str, float, str | None, str | None, str, str | None])


def create_of(row: Sequence[Any]) -> Create:
    """Build the create from its row, its batch's name and the entry's spec, which may be missing.

    Raises JournalError where it is damaged.
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
    """Build the record from a row of SEGMENT_COLUMNS; raises JournalError where it is damaged."""
    _SEGMENT_SHAPE.check(row)
    with intact("a row of the table segments"):
        asset, part_number, offset, length, url, started_at, stored_at, etag, md5, is_verified, evidence = row
        # Journals from before evidence was kept have receipts of answers only.
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
    """The row of the table `segments` for *planned*."""
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
