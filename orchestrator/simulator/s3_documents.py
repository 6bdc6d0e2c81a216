"""The XML that an S3-compatible server speaks, as far as multipart uploads need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from orchestrator.simulator.requests import StoreError


@dataclass(frozen=True)
class ListedPart:
    """One line of a ListParts answer."""

    number: int
    etag: str
    modified: str


@dataclass(frozen=True)
class PartsPage:
    """One page of a ListParts answer."""

    parts: list[ListedPart]
    is_truncated: bool


@dataclass(frozen=True)
class KeysPage:
    """One page of a ListObjectsV2 answer; *next_page* is the token of the one after it, empty on the last."""

    keys: list[str]
    next_page: str


def upload_id_of(body: bytes) -> str:
    """Return the id from the answer to CreateMultipartUpload."""
    return _text(_parse(body), "UploadId")


def parts_page_of(body: bytes) -> PartsPage:
    """Return what a ListParts answer says; ETags come without their quotes."""
    root = _parse(body)
    parts = [
        ListedPart(
            number=int(_text(part, "PartNumber")),
            etag=_text(part, "ETag").strip('"').lower(),
            modified=_text(part, "LastModified"),
        )
        for part in root.iterfind("{*}Part")
    ]
    return PartsPage(parts, is_truncated=_text(root, "IsTruncated") == "true")


def keys_page_of(body: bytes) -> KeysPage:
    """Return what a ListObjectsV2 answer says."""
    root = _parse(body)
    is_truncated = _text(root, "IsTruncated") == "true"
    return KeysPage(
        keys=[_text(entry, "Key") for entry in root.iterfind("{*}Contents")],
        next_page=_text(root, "NextContinuationToken") if is_truncated else "",
    )


def youngest_etags(parts: Iterable[ListedPart]) -> dict[int, str]:
    """Return the ETag of each part number.

    SeaweedFS lists a part once for each PUT, in no order: the youngest counts, of one second the last listed.
    """
    youngest: dict[int, ListedPart] = {}
    for part in parts:
        if part.number not in youngest or part.modified >= youngest[part.number].modified:
            youngest[part.number] = part
    return {number: part.etag for number, part in youngest.items()}


def completion(parts: Mapping[int, str]) -> bytes:
    """Return the body of CompleteMultipartUpload for these ETags by part number."""
    root = ElementTree.Element("CompleteMultipartUpload")
    for number in sorted(parts):
        part = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(part, "PartNumber").text = str(number)
        ElementTree.SubElement(part, "ETag").text = f'"{parts[number]}"'
    return ElementTree.tostring(root, encoding="unicode").encode()


def error_of(status: int, body: bytes) -> StoreError | None:
    """Return the error an answer carries, None when it is a good one.

    A completion may fail after its 200 was sent: then the body is the error.
    """
    root = _root(body)
    if root is not None and root.tag.rpartition("}")[2] == "Error":
        code, message = _text(root, "Code"), _text(root, "Message")
        return StoreError(status if status >= 400 else 500, code or "InternalError", message)
    if status >= 300:
        return StoreError(status, f"HTTP{status}", "the object store refuses without saying why")
    return None


def _parse(body: bytes) -> ElementTree.Element:
    root = _root(body)
    if root is None:
        raise StoreError(502, "MalformedXML", "the answer of the object store is no XML")
    return root


def _root(body: bytes) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - from the server whose keys we were given
    except ElementTree.ParseError:
        return None


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()
