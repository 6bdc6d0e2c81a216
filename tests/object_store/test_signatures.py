"""V4 signatures come out as AWS documents them, and of a part that was put twice the younger counts."""

from __future__ import annotations

from datetime import datetime

import pytest

from orchestrator.simulator.s3 import ListedPart, latest_etags
from orchestrator.simulator.sigv4 import SigningKeys, Target, encoded_query

KEYS = SigningKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
HOST = "examplebucket.s3.amazonaws.com"


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


def test_the_secret_key_is_not_shown() -> None:
    """Not even by accident, in a traceback with locals."""
    assert KEYS.sk not in repr(KEYS)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_of_a_part_that_is_listed_twice_the_younger_counts(*, is_reversed: bool) -> None:
    """Wherever it stands in the list."""
    lines = [
        ListedPart(1, "old", datetime.fromisoformat("2026-11-22T12:03:37Z")),
        ListedPart(1, "new", datetime.fromisoformat("2026-11-22T12:03:38Z")),
        ListedPart(2, "other", datetime.fromisoformat("2026-11-22T12:03:36Z")),
    ]

    assert latest_etags(lines[::-1] if is_reversed else lines) == {1: "new", 2: "other"}
