"""What S3 would say, and all that is remembered for it."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmark.sink.head import Head

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
#: Where the flow is told; no client has such a bucket.
FLOW_PATH = "/-/flow"
_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass(frozen=True)
class Stored:
    """What is known of an object or a part."""

    size: int
    etag: str


@dataclass
class Arrival:
    """What came in for one path: how much, and when it began, by the monotonic clock."""

    received_bytes: int = 0
    first_at: float | None = None

    def begin(self, now: float) -> None:
        """A body begins."""
        if self.first_at is None:
            self.first_at = now


@dataclass
class Flow:
    """What came in since it was told last: how much, and when by the monotonic clock."""

    received_bytes: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first byte to the last."""
        return self.last_at - self.first_at

    def take(self, count: int, now: float) -> None:
        """So many bytes more."""
        if not self.received_bytes:
            self.first_at = now
        self.received_bytes += count
        self.last_at = now


@dataclass
class Shelf:
    """Objects by path, the parts of uploads that are open, and what came in."""

    objects: dict[str, Stored] = field(default_factory=dict)
    parts: dict[str, dict[int, Stored]] = field(default_factory=dict)
    arrivals: dict[str, Arrival] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)
    upload_numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def next_flow(self) -> Flow:
        """The flow so far; another begins."""
        flow, self.flow = self.flow, Flow()
        return flow

    def open_upload(self) -> str:
        """Begin a multipart upload."""
        upload_id = f"upload-{next(self.upload_numbers)}"
        self.parts[upload_id] = {}
        return upload_id

    def complete(self, path: str, upload_id: str) -> Stored:
        """Join the parts; an upload nobody opened here has none."""
        parts = [part for _, part in sorted(self.parts.pop(upload_id, {}).items())]
        etag = hashlib.md5(
            b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False
        ).hexdigest()
        self.objects[path] = Stored(sum(part.size for part in parts), f"{etag}-{len(parts)}")
        return self.objects[path]


Reply = tuple[str, dict[str, str], bytes]


class Answers:
    """What S3 would say to a request whose body has gone by."""

    def __init__(self, shelf: Shelf, head: Head, stored: Stored) -> None:
        self._shelf = shelf
        self._head = head
        self._stored = stored

    def answer(self) -> Reply:
        """Status, headers and body."""
        handlers = {"PUT": self._put, "POST": self._post, "HEAD": self._look, "GET": self._get}
        return handlers.get(self._head.method, self._done)()

    def _done(self) -> Reply:
        return "204 No Content", {}, b""

    def _put(self) -> Reply:
        head = self._head
        if head.value("uploadId"):
            parts = self._shelf.parts.setdefault(head.value("uploadId"), {})
            parts[head.part_number] = self._stored
        else:
            self._shelf.objects[head.path] = self._stored
        return "200 OK", _etag(self._stored), b""

    def _post(self) -> Reply:
        head = self._head
        if "uploads" in head.query:
            upload_id = self._shelf.open_upload()
            return _xml("InitiateMultipartUploadResult", self._names() + f"<UploadId>{upload_id}</UploadId>")
        stored = self._shelf.complete(head.path, head.value("uploadId"))
        return _xml(
            "CompleteMultipartUploadResult", self._names() + f"<ETag>&quot;{stored.etag}&quot;</ETag>"
        )

    def _look(self) -> Reply:
        bucket, _, key = self._head.path.strip("/").partition("/")
        stored = self._shelf.objects.get(self._head.path)
        if bucket and not key:
            return "200 OK", {}, b""
        if stored is None:
            return "404 Not Found", {}, b""
        return "200 OK", {**_etag(stored), "Content-Length": str(stored.size), **_DATES}, b""

    def _get(self) -> Reply:
        if self._head.path == FLOW_PATH:
            told = json.dumps(vars(self._shelf.next_flow()))
            return "200 OK", {"Content-Type": "application/json"}, told.encode()
        if "location" in self._head.query:
            return _xml("LocationConstraint", "")
        if "uploadId" in self._head.query:
            return _xml("ListPartsResult", self._names() + self._listed_parts())
        return _xml("ListBucketResult", self._listed_keys())

    def _listed_parts(self) -> str:
        parts = self._shelf.parts.get(self._head.value("uploadId"), {})
        return "<IsTruncated>false</IsTruncated>" + "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag>"
            f"<LastModified>{_MODIFIED}</LastModified><Size>{part.size}</Size></Part>"
            for number, part in sorted(parts.items())
        )

    def _listed_keys(self) -> str:
        bucket = self._head.path.rstrip("/") + "/"
        prefix = bucket + self._head.value("prefix")
        keys = sorted(path.removeprefix(bucket) for path in self._shelf.objects if path.startswith(prefix))
        return f"<IsTruncated>false</IsTruncated><KeyCount>{len(keys)}</KeyCount>" + "".join(
            f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys
        )

    def _names(self) -> str:
        bucket, _, key = self._head.path.strip("/").partition("/")
        return f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"


_MODIFIED = "2026-01-01T00:00:00.000Z"
_DATES = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def _etag(stored: Stored) -> dict[str, str]:
    return {"ETag": f'"{stored.etag}"'}


def _xml(root: str, content: str) -> Reply:
    body = f"{_XML}<{root} {_NAMESPACE}>{content}</{root}>".encode()
    return "200 OK", {"Content-Type": "application/xml"}, body
