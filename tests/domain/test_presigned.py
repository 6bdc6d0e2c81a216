"""Presigned URLs: what is read from them, and that they keep their secret."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import pickle
import pprint
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.assets import AssetKind, Segment
from orchestrator.domain.presigned import PresignedUrl, in_part_order
from orchestrator.journal.records import SegmentRecord

SIGNATURE = "FrLhTRdhMjpAFVb%2Ff%2BcGJQgvjlw%3D"
ACCESS_KEY = "BHFSP0ZDGFL6BLGHCNPK"
UPLOAD_ID = "0000018AC154BC218415213228194267"
QUERY = f"AccessKeyId={ACCESS_KEY}&Expires=1695532670&partNumber=3&uploadId={UPLOAD_ID}&Signature={SIGNATURE}"
TEXT = f"https://bucket.obs.example.com:8443/dir/deep/job_trainingVideo?{QUERY}"


def raised(make: Callable[[PresignedUrl], BaseException]) -> str:
    """The text of an exception that was given the URL."""
    return "".join(traceback.format_exception(make(PresignedUrl(TEXT))))


def with_locals(_: PresignedUrl) -> str:
    """structlog's structured traceback with the locals of every frame."""
    url = PresignedUrl(TEXT)
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=True)
    try:
        url.host.index("not in it")
    except ValueError as error:
        return str(transform((type(error), error, error.__traceback__)))
    raise AssertionError


RENDERINGS: dict[str, Callable[[PresignedUrl], str]] = {
    "str": str,
    "repr": repr,
    "format": lambda url: f"{url} {url!s} {url!r} {url:}",
    "percent": lambda url: "%s %r" % (url, url),  # noqa: UP031
    "pprint": pprint.pformat,
    "container": lambda url: repr([url, {url: url}, (url,)]),
    "copy": lambda url: repr(copy.deepcopy(url)),
    "pickled": lambda url: repr(pickle.loads(pickle.dumps(url))),
    "dataclass": lambda url: repr(
        SegmentRecord(kind=AssetKind.TRAINING_VIDEO, segment=Segment(3, 0, 1), url=url)
    ),
    "json fallback": lambda url: json.dumps({"url": url}, default=repr),
    "exception": lambda _: raised(ValueError),
    "key error": lambda _: raised(KeyError),
    "group": lambda _: raised(lambda url: ExceptionGroup("several", [ValueError(url)])),
    "traceback with locals": with_locals,
    "log record": lambda url: logging.LogRecord("n", 20, "p", 1, "put %s", (url,), None).getMessage(),
}


@pytest.mark.parametrize("render", RENDERINGS.values(), ids=RENDERINGS.keys())
def test_no_text_form_shows_the_secret(render: Callable[[PresignedUrl], str]) -> None:
    """Host and object name say enough."""
    text = render(PresignedUrl(TEXT))

    assert_is_secret(text)
    assert "<PresignedUrl bucket.obs.example.com:8443/job_trainingVideo>" in text


@pytest.mark.parametrize(
    "renderer",
    [
        structlog.processors.JSONRenderer(),
        structlog.processors.KeyValueRenderer(),
        structlog.processors.LogfmtRenderer(),
        structlog.dev.ConsoleRenderer(colors=False),
    ],
    ids=lambda renderer: type(renderer).__name__,
)
def test_no_log_line_shows_the_secret(renderer: Any) -> None:
    """Whatever structlog renders with."""
    url = PresignedUrl(TEXT)

    line = str(renderer(None, "info", {"event": str(url), "url": url}))

    assert_is_secret(line)
    assert "job_trainingVideo" in line


def assert_is_secret(text: str) -> None:
    """Nothing in *text* helps to sign a request."""
    for secret in ("Signature", SIGNATURE[:12], ACCESS_KEY, UPLOAD_ID, "?", "/dir/"):
        assert secret not in text


def test_only_reveal_gives_the_url_byte_for_byte() -> None:
    """A signature covers the URL as it was issued."""
    assert PresignedUrl(TEXT).reveal() == TEXT


@pytest.mark.parametrize(
    "text",
    [
        f"ftp://host/object?{QUERY}",
        f"/object?{QUERY}",
        f"https:///object?{QUERY}",
        f"https://host:port/object?{QUERY}",
        f"https://host:99999/object?{QUERY}",
        f"https://[::1/object?{QUERY}",
        f"https://a\u2100b/object?{QUERY}",
        f"http\u017f://host/object?{QUERY}",
        f"https://user@/object?{QUERY}",
        "",
    ],
)
def test_what_is_no_upload_url_is_refused_without_being_shown(text: str) -> None:
    """Neither the message nor what lies behind it has the text."""
    with pytest.raises(ValueError, match="the service returned an upload URL") as caught:
        PresignedUrl(text)

    assert_is_secret("".join(traceback.format_exception(caught.value)))


@given(st.text(max_size=80) | st.from_regex(r"https?://[^ ]{1,20}/[^ ]{0,20}\?[^ ]{0,40}", fullmatch=True))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    """An answer of the service never brings a traceback."""
    with contextlib.suppress(ValueError):
        assert PresignedUrl(text).reveal() == text


_PIECES = (
    "https",
    "HTTP",
    "ftp",
    ":",
    "//",
    "/",
    "?",
    "#",
    "@",
    "[",
    "]",
    "::1",
    "host",
    ":80",
    ":x",
    "\\",
    "\u2100",
)


@given(st.sampled_from(["https://", "http://", ""]), st.lists(st.sampled_from(_PIECES), max_size=9))
def test_a_url_is_cut_where_others_cut_it(start: str, pieces: list[str]) -> None:
    """What is shown of it, and whether it is refused, must be true of the request that goes there."""
    text = start + "".join(pieces)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    is_url = host is not None and parts.scheme in {"http", "https"}
    try:
        url = PresignedUrl(text)
    except ValueError:
        assert not is_url
        return
    assert is_url
    name = parts.path.rsplit("/", 1)[-1]
    assert (url.scheme, url.hostname, url.object_name) == (parts.scheme, host, name)
    assert url.host == (host if not port else f"{host}:{port}")


@pytest.mark.parametrize(
    ("query", "expires_at"),
    [
        ("AccessKeyId=A&Expires=1695532670&Signature=S", 1695532670.0),
        ("AWSAccessKeyId=A&Signature=S&Expires=1695532670", 1695532670.0),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20230924T051750Z&X-Amz-Expires=600", 1695533270.0),
        ("X-Amz-Date=20230924T051750Z", None),
        ("X-Amz-Expires=600", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=600", None),
        ("Expires=never", None),
        ("Expires=nan", None),
        ("Expires=inf", None),
        ("", None),
    ],
)
def test_the_end_of_a_url_is_known_from_the_url(query: str, expires_at: float | None) -> None:
    """V2 says when, V4 says from when and how long; what says neither has no known end."""
    assert PresignedUrl(f"https://host/object?{query}").expires_at == expires_at


def test_the_end_of_a_url_does_not_depend_on_the_time_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """X-Amz-Date is UTC."""
    with monkeypatch.context() as context:
        context.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        url = PresignedUrl("https://host/object?X-Amz-Date=20230924T051750Z&X-Amz-Expires=600")
    time.tzset()

    assert url.expires_at == 1695533270.0


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("partNumber=7", 7),
        ("partNumber=1000&x=1", 1000),
        ("partNumber=", None),
        ("partNumber=x", None),
        ("", None),
    ],
)
def test_the_part_number_is_read_from_the_url(query: str, number: int | None) -> None:
    """None when the URL has none."""
    assert PresignedUrl(f"https://host/object?{query}").part_number == number


def urls(*numbers: int | None) -> list[PresignedUrl]:
    """URLs with these part numbers."""
    return [
        PresignedUrl(f"https://host/object-{place}" + (f"?partNumber={number}" if number is not None else ""))
        for place, number in enumerate(numbers)
    ]


@given(st.lists(st.integers(1, 1000), unique=True))
def test_urls_that_say_their_part_come_in_part_order(numbers: list[int]) -> None:
    """The service may shuffle the array."""
    assert [url.part_number for url in in_part_order(urls(*numbers))] == sorted(numbers)


@pytest.mark.parametrize("numbers", [(3, None, 1), (2, 2, 1), (None, None), ()])
def test_without_a_number_for_each_the_order_of_the_array_stands(numbers: tuple[int | None, ...]) -> None:
    """Half an order is worse than the given one."""
    given_order = urls(*numbers)

    assert in_part_order(given_order) == given_order


def test_urls_are_equal_when_they_are_the_same_text() -> None:
    """Equal values, equal hashes; a text is no URL."""
    assert PresignedUrl(TEXT) == PresignedUrl(TEXT)
    assert hash(PresignedUrl(TEXT)) == hash(PresignedUrl(TEXT))
    assert PresignedUrl(TEXT) != PresignedUrl(TEXT + "0")
    assert PresignedUrl(TEXT) != TEXT
