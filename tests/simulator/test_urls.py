"""Presigned URLs are signed and checked as OBS does it."""

from urllib.parse import quote

import pytest

from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.urls import StoreKeys, canonical_resource, presign, string_to_sign, verify

KEYS = StoreKeys("AKIDEXAMPLEEXAMPLE01", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY01")
PART = {"partNumber": "1", "uploadId": "0000018AC154BC218415213228194267"}
VIDEO = "/digitalhuman/p/efc5300ecdba4ea48d1ff13a9d907bc0_trainingVideo"
OCTET_STREAM = "application/octet-stream"


@pytest.mark.parametrize(
    ("path", "parameters", "content_md5", "content_type", "signature"),
    [
        (VIDEO, PART, "", OCTET_STREAM, "XpDPb9cBtrBA5+gIEU09QxavEH8="),
        (VIDEO, PART, "", "", "rIz1V+5b3UmbcbDBVN/ogDK0Ww4="),
        (
            "/digitalhuman/p/x_cover",
            {},
            "n58IG6hfM7vqI4K0vnWpog==",
            OCTET_STREAM,
            "yCXlZ+iDSKiZ5J8/pU9gPHZTZZI=",
        ),
    ],
)
def test_the_documents_vectors_are_met(
    path: str, parameters: dict[str, str], content_md5: str, content_type: str, signature: str
) -> None:
    """The three signatures of metastudio-protocol section 5.1 come out."""
    resource = canonical_resource(path, parameters.items())

    text = string_to_sign("PUT", resource, "1795420800", content_md5=content_md5, content_type=content_type)

    assert KEYS.signature(text) == signature


@pytest.mark.parametrize("unescaped", ["/", ""])
def test_a_slash_in_the_signature_may_be_escaped_or_not(unescaped: str) -> None:
    """The vendor's SDK leaves "/" as it is, the service's examples escape it; both are the same signature."""
    url = f"{VIDEO}?AccessKeyId={KEYS.ak}&Expires=1795420800&partNumber=1&uploadId={PART['uploadId']}"
    signature = quote("rIz1V+5b3UmbcbDBVN/ogDK0Ww4=", safe=unescaped)

    target = verify(KEYS, "digitalhuman", "PUT", f"{url}&Signature={signature}", {})

    assert (target.key, target.part_number) == (VIDEO.removeprefix("/digitalhuman/"), 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "video/mp4"},
        {},
        {"Content-Type": OCTET_STREAM, "Content-MD5": "n58IG6hfM7vqI4K0vnWpog=="},
        {"Content-Type": OCTET_STREAM, "x-obs-acl": "private"},
    ],
)
def test_a_header_that_was_not_signed_spoils_the_signature(headers: dict[str, str]) -> None:
    """Content-Type, Content-MD5 and every x-obs- header are inside the signature."""
    url = presign(KEYS, "", "PUT", VIDEO, 1795420800, content_type=OCTET_STREAM, parameters=PART)

    with pytest.raises(StoreError) as refused:
        verify(KEYS, "digitalhuman", "PUT", url, headers)

    assert (refused.value.status, refused.value.code) == (403, "SignatureDoesNotMatch")


def test_another_part_number_spoils_the_signature() -> None:
    """A URL is good for its part only."""
    url = presign(KEYS, "", "PUT", VIDEO, 1795420800, parameters=PART)

    with pytest.raises(StoreError, match="does not match"):
        verify(KEYS, "digitalhuman", "PUT", url.replace("partNumber=1", "partNumber=2"), {})


@pytest.mark.parametrize("number", ["0", "10001", "x"])
def test_a_part_number_outside_of_1_to_10000_is_refused(number: str) -> None:
    """OBS answers 400 InvalidArgument even to a good signature."""
    url = presign(KEYS, "", "PUT", VIDEO, 1795420800, parameters=PART | {"partNumber": number})

    with pytest.raises(StoreError) as refused:
        verify(KEYS, "digitalhuman", "PUT", url, {})

    assert (refused.value.status, refused.value.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "AccessDenied"), ("AccessKeyId=other&Expires=1&Signature=x", "InvalidAccessKeyId")],
)
def test_no_signature_and_a_strangers_key_are_told_apart(query: str, code: str) -> None:
    """Both are a 403."""
    with pytest.raises(StoreError) as refused:
        verify(KEYS, "digitalhuman", "PUT", f"{VIDEO}?{query}", {})

    assert (refused.value.status, refused.value.code) == (403, code)


def test_the_text_of_keys_and_targets_holds_no_secret() -> None:
    """Neither the SK nor a signature gets into a log through a repr."""
    url = presign(KEYS, "", "PUT", VIDEO, 1795420800)

    target = verify(KEYS, "digitalhuman", "PUT", url, {})

    assert KEYS.sk not in repr(KEYS)
    assert target.signature not in repr(target)
    assert "Signature" not in target.label
