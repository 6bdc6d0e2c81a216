"""V4 signatures come out as AWS documents them, and the XML of S3 is understood."""

from __future__ import annotations

import pytest

from orchestrator.simulator.s3_documents import ListedPart, error_of, youngest_etags
from orchestrator.simulator.sigv4 import SigningKeys, Target, encoded_query, signed_headers

KEYS = SigningKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
HOST = "examplebucket.s3.amazonaws.com"
SIGNED_AT = 1_369_353_600.0


def test_a_url_is_signed_as_in_the_s3_reference() -> None:
    """The presigned GET of "Authenticating Requests: Using Query Parameters"."""
    query = encoded_query(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{KEYS.ak}/20130524/us-east-1/s3/aws4_request",
            "X-Amz-Date": "20130524T000000Z",
            "X-Amz-Expires": "86400",
            "X-Amz-SignedHeaders": "host",
        }
    )
    request = Target("GET", HOST, "/test.txt", query).canonical({"host": HOST}, "UNSIGNED-PAYLOAD")

    signature = KEYS.signature("20130524T000000Z", request)

    assert signature == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


def test_a_request_is_signed_as_in_the_s3_reference() -> None:
    """GET Bucket Lifecycle of "Signature Calculations for the Authorization Header"."""
    target = Target("GET", HOST, "/", encoded_query({"lifecycle": ""}))

    headers = signed_headers(KEYS, target, b"", SIGNED_AT)

    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


def test_the_secret_key_is_not_shown() -> None:
    """Not even by accident, in a traceback with locals."""
    assert KEYS.sk not in repr(KEYS)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_of_a_part_that_is_listed_twice_the_younger_counts(*, is_reversed: bool) -> None:
    """Wherever it stands in the list."""
    lines = [
        ListedPart(1, "old", "2026-11-22T12:03:37Z"),
        ListedPart(1, "new", "2026-11-22T12:03:38Z"),
        ListedPart(2, "other", "2026-11-22T12:03:36Z"),
    ]

    assert youngest_etags(lines[::-1] if is_reversed else lines) == {1: "new", 2: "other"}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<CompleteMultipartUploadResult/>", None),
        (200, b"<Error><Code>InternalError</Code></Error>", (500, "InternalError")),
        (204, b"", None),
        (301, b"", (301, "HTTP301")),
        (400, b'<Error xmlns="urn:s3"><Code>EntityTooSmall</Code></Error>', (400, "EntityTooSmall")),
        (403, b"<html>not xml", (403, "HTTP403")),
        (404, b"", (404, "HTTP404")),
    ],
)
def test_an_answer_is_good_or_an_error_with_a_code(
    status: int, body: bytes, expected: tuple[int, str] | None
) -> None:
    """A completion that failed after its 200 is no success; a redirect is none either."""
    error = error_of(status, body)

    assert (error and (error.status, error.code)) == expected
