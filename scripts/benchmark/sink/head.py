"""A request's line and the headers that matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from benchmark.sink.framing import MalformedRequestError


@dataclass(frozen=True)
class Head:
    """A request without its body; `decoded_length` is that of the payload within `aws-chunked`."""

    method: str
    path: str
    query: dict[str, list[str]]
    length: int
    decoded_length: int | None
    is_chunked: bool
    is_expecting: bool

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """Read one; raises MalformedRequestError."""
        line, *headers = raw.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise MalformedRequestError("this is no HTTP request")
        fields = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in headers)}
        path, query = _split(words[1])
        return cls(
            method=words[0],
            path=path,
            query=query,
            length=_length(fields, "content-length") or 0,
            decoded_length=_length(fields, "x-amz-decoded-content-length"),
            is_chunked=fields.get("transfer-encoding", "").lower() == "chunked",
            is_expecting=fields.get("expect", "").lower() == "100-continue",
        )

    @property
    def has_body(self) -> bool:
        """True when bytes follow."""
        return self.is_chunked or self.length > 0

    @property
    def part_number(self) -> int:
        """Which part of an upload it carries; raises MalformedRequestError."""
        value = self.value("partNumber")
        if not _is_number(value):
            raise MalformedRequestError("the part has no number")
        return int(value)

    def value(self, name: str) -> str:
        """The first value of a query parameter, empty when it is not there."""
        return self.query.get(name, [""])[0]


def _split(target: str) -> tuple[str, dict[str, list[str]]]:
    try:
        parts = urlsplit(target)
        return unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        raise MalformedRequestError("the request's target is no URL") from None


def _length(fields: Mapping[str, str], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not _is_number(value):
        raise MalformedRequestError(f"{name} is no number")
    return int(value)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
