"""Error documents, good and hostile, and the texts that may be shown of them."""

from __future__ import annotations

import pytest

from orchestrator.transfer.answer import ErrorDocument, parse_error_document
from tests.transfer.store import error_document


def test_the_deciding_parts_are_read() -> None:
    """Code, message and request id come out of a store's document."""
    document = parse_error_document(error_document("AccessDenied", "Request has expired"))

    assert document == ErrorDocument("AccessDenied", "Request has expired", "0A1B")


def test_namespaces_do_not_hide_the_code() -> None:
    """Stores that qualify their elements are understood."""
    body = b'<s3:Error xmlns:s3="http://s3"><s3:Code>SlowDown</s3:Code></s3:Error>'

    assert parse_error_document(body).code == "SlowDown"


def test_a_truncated_document_counts_as_far_as_it_came() -> None:
    """The code usually comes before the connection breaks."""
    body = error_document("SlowDown", "Please reduce your request rate")

    assert parse_error_document(body[: body.index(b"<Resource>")]).code == "SlowDown"
    assert parse_error_document(body[: body.index(b"</Code>")]) == ErrorDocument()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff\xfe garbage",
        b"<html><body><Code>SlowDown</Code></body></html>",
        b"<ListPartsResult><Error><Code>SlowDown</Code></Error></ListPartsResult>",
        b'<?xml version="1.0" encoding="no-such-encoding"?><Error><Code>SlowDown</Code></Error>',
        b"<Error><Code>https://host/?Signature=abc</Code></Error>",
        b'{"error": "SlowDown"}',
    ],
)
def test_anything_else_is_an_empty_document(body: bytes) -> None:
    """What is no error document decides nothing and raises nothing."""
    assert parse_error_document(body) == ErrorDocument()


def test_entities_are_not_expanded() -> None:
    """A document that declares entities is not read at all."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
    body = f'<!DOCTYPE Error [<!ENTITY l0 "SlowDown">{laughs}]><Error><Code>&l8;</Code></Error>'

    assert parse_error_document(body.encode()) == ErrorDocument()


def test_external_entities_are_not_fetched() -> None:
    """A document cannot name files of ours."""
    body = b'<!DOCTYPE Error [<!ENTITY x SYSTEM "file:///etc/passwd">]><Error><Message>&x;</Message></Error>'

    assert parse_error_document(body) == ErrorDocument()


def test_messages_lose_what_looks_like_a_url_or_key() -> None:
    """A store that quotes the request does not bring the secret into our texts."""
    message = "denied for\n https://h/o?Signature=abc%2F AccessKeyId=AKX since  then"

    document = parse_error_document(error_document("AccessDenied", message))

    assert document.message == "denied for https://h/o?*** AccessKeyId=*** since then"


def test_long_messages_are_cut() -> None:
    """An error text stays a line."""
    message = parse_error_document(error_document("AccessDenied", "word " * 1000)).message

    assert message is not None
    assert len(message) == 200
