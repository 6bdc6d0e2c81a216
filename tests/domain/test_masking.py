"""What is masked in the words of others, and what stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.untrusted_text import MASK, masked, plain_name, quotable

TOKEN = "MIIabcDEF0123+/" * 10


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("call 13800138000 now", "call *** now"),
        ("请联系13800138000确认", "请联系***确认"),
        ("电话\uff1a138 0013 8000。", "电话\uff1a***。"),
        ("+86 138-0013-8000", MASK),
        ("8613800138000", MASK),
        ("(+86)13800138000", MASK),
        ("0086-13800138000", MASK),
        ("1380 013 8000", MASK),
        ("\uff11\uff13\uff18\uff10\uff10\uff11\uff13\uff18\uff10\uff10\uff10", MASK),
        ("+44 20 7946 0958 is our office", "*** is our office"),
        ("010-12345678", MASK),
        ("ID 11010119900307851X", "ID ***"),
        ("mail ann.b+c@studio.example.", "mail ***."),
        ("联系ann@studio.example确认", "联系***确认"),
        (
            "see https://h.example/o?Signature=x%2F&Expires=1\uff0c请重试",
            "see https://h.example/o?***\uff0c请重试",
        ),
        ("proxy http://user:hunter2@proxy:3128/", "proxy http://***@proxy:3128/"),
        ("AccessKeyId=AK1&Expires=1&Signature=abc%2F", "AccessKeyId=***&Expires=1&Signature=***"),
        ("%26Signature%3Dabcdef", "%26Signature%3D***"),
        ("X-Amz-Credential=AK1 X-Amz-Signature=abc", "X-Amz-Credential=*** X-Amz-Signature=***"),
        ("{'X-Auth-Token': 'MIIFtoken'}", "{'X-Auth-Token': '***'}"),
        ('{"password": "hunter2"}', '{"password": "***"}'),
        ("Authorization: SDK-HMAC-SHA256 Access=AK1, Signature=0a", "Authorization: ***"),
        ("Bearer abcdef123456 was refused", "Bearer *** was refused"),
        ("密钥sk=topsecretkey", "密钥sk=***"),
        ("key BHFSP0ZDGFL6BLGHCNPK", "key ***"),
        (f"token {TOKEN} ended", "token *** ended"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", MASK),
    ],
)
def test_a_contact_or_a_secret_is_masked_and_the_words_around_it_stay(text: str, left: str) -> None:
    """In either language, with blanks or without."""
    assert masked(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "entry 12345678901 of 20261122",
        "4294967296000 bytes do not fit",
        "13421772800 bytes",
        "1795334400123",
        "2026-11-05T10:22:33Z",
        "verify aksk signature fail:signature expired, signature time:20261122T080000Z,server time:20261123T090000Z",
        "request 0d697589d98091f12f92c0073501cd79",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "job13800138000",
        "127.0.0.1:18437",
        "https://host/path",
        f"/srv/Footage/{'LongName' * 8}/anna.mp4",
        "x-amz-request-id: 0A1B2C",
        "AK access failed to reach the limit",
        "the task is done, ask again",
        "Basic authentication is required for the Basic edition",
        "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED",
        "name must be 1 to 256 characters",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Numbers, times, sizes, ids, paths and the service's own words: a log that says nothing helps no one."""
    assert masked(text) == text


def test_what_is_known_to_be_secret_is_masked_wherever_it_stands() -> None:
    """But not a text that is a word like any other."""
    assert masked("by Ann of 9th street, Ann", hidden=("Ann of 9th street", "Ann")) == "by ***, Ann"


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "13800",
        "a@",
        "://",
        "eyJ",
        "eyJ.",
        "Bearer ",
        "+1 ",
        "A",
        "x-amz-",
        "signature ",
        "a.",
        "86",
        " ",
    ],
)
def test_no_text_takes_long_to_mask(piece: str) -> None:
    """Each pattern is tried once a place; one that were tried for every length would take minutes here."""
    text = piece * (200_000 // len(piece))

    assert len(masked(text)) <= len(text)


@given(st.text())
def test_words_that_are_kept_are_one_short_line_of_whole_characters(text: str) -> None:
    """Whatever was sent."""
    kept = quotable(text, longest=50)

    assert len(kept) <= 50
    assert len(kept.splitlines()) <= 1
    kept.encode()


@pytest.mark.parametrize("text", ["", "a b", "\x1b[31m", "x" * 129, "n\u00e4me", "a\n", None])
def test_an_id_that_is_shown_unmasked_has_the_characters_of_one(text: str | None) -> None:
    """Anything else is none."""
    assert plain_name(text) is None
    assert plain_name("0A-1Bc=") == "0A-1Bc="
