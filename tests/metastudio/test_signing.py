"""Signatures equal the documented vectors and the vendor's own signer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metastudio.signing import (
    SignableRequest,
    authorization,
    canonical_query,
    canonical_request,
    query_pairs,
    signed_headers,
)

AK, SK = "AKIDEXAMPLEEXAMPLE01", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY01"
PROJECT_ID = "0d697589d98091f12f92c0073501cd79"
JOBS = f"/v1/{PROJECT_ID}/digital-human-training-manage/user/jobs"
COMMON_HEADERS = {
    "X-Sdk-Date": "20261122T080000Z",
    "X-Project-Id": PROJECT_ID,
    "Host": "metastudio.cn-north-4.myhuaweicloud.com",
}
BODY = {
    "name": "Test Role",
    "contact": "1**********",
    "video_multipart_count": 2,
    "is_background_replacement": True,
}
CREATE = SignableRequest(
    method="POST",
    path=JOBS,
    query=(),
    headers={"Content-Type": "application/json", "User-Agent": "ua/1", **COMMON_HEADERS},
    body=json.dumps(BODY).encode(),
)
SHOW = SignableRequest(
    method="GET", path=f"{JOBS}/efc5300ecdba4ea48d1ff13a9d907bc0", query=(), headers=COMMON_HEADERS, body=b""
)


@pytest.mark.parametrize(
    ("request_", "names", "signature"),
    [
        (
            CREATE,
            "content-type;host;user-agent;x-project-id;x-sdk-date",
            "0f3e6ede16ccf3a6df20f36e664deb1e7f144a11405064b206d75149333e4baf",
        ),
        (
            SHOW,
            "host;x-project-id;x-sdk-date",
            "f349f6b1fc9dd193094fa55d513a3812b22e2a0461e2717c5d9cae9e2d282370",
        ),
    ],
    ids=["create", "show"],
)
def test_the_documented_vectors_are_signed_as_documented(
    request_: SignableRequest, names: str, signature: str
) -> None:
    """Both vectors of the protocol document come out to the letter."""
    assert authorization(request_, AK, SK) == (
        f"SDK-HMAC-SHA256 Access={AK}, SignedHeaders={names}, Signature={signature}"
    )


def test_the_canonical_path_ends_with_a_slash_the_wire_does_not_have() -> None:
    """The second line of the canonical request is the path and a slash."""
    assert canonical_request(SHOW, signed_headers(SHOW)).splitlines()[1] == SHOW.path + "/"


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_HEADER_NAMES = st.from_regex(r"X-[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
_HEADER_VALUES = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=12)
_HEADERS = st.dictionaries(_HEADER_NAMES, _HEADER_VALUES, max_size=4).filter(
    lambda headers: len({name.lower() for name in headers}) == len(headers)
)


_CONTENT_TYPES: tuple[dict[str, str], ...] = (
    {},
    {"Content-Type": "application/json"},
    {"Content-Type": "application/json;charset=utf-8"},
    {"Content-Type": "text/plain", "X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD"},
)
_REQUESTS = st.builds(
    SignableRequest,
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.lists(_TEXT, max_size=4).map(lambda segments: "/" + "/".join(segments)),
    query=st.lists(st.tuples(st.sampled_from(["a", "b", "ü", "a b"]) | _TEXT, _TEXT), max_size=5).map(tuple),
    headers=st.builds(
        lambda extra, kind: {**extra, **COMMON_HEADERS, **kind}, _HEADERS, st.sampled_from(_CONTENT_TYPES)
    ),
    body=st.binary(max_size=40),
)


@given(request_=_REQUESTS)
def test_any_request_is_signed_as_the_vendor_signs_it(
    vendor_authorization: Callable[..., tuple[str, str]], request_: SignableRequest
) -> None:
    """Paths, queries with blanks, unicode and repeats, headers and bodies give the vendor's signature."""
    expected, uri = vendor_authorization(request_, AK, SK)

    assert authorization(request_, AK, SK) == expected
    assert canonical_query(request_.query) == uri.removeprefix(request_.path).removeprefix("?")


@given(st.lists(st.tuples(_TEXT.filter(bool), _TEXT), max_size=5))
def test_a_canonical_query_reads_back_as_its_pairs(query: list[tuple[str, str]]) -> None:
    """What is signed from a URL is what was asked for."""
    assert query_pairs(canonical_query(query)) == tuple(sorted(query))
