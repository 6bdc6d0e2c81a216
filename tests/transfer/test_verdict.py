"""What each answer means for the caller."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import (
    ETagMismatchError,
    InterruptedTransferError,
    OrchestratorError,
    RefusedUploadError,
    RequestRejectedError,
    RetryableError,
    ThrottledError,
    UrlExpiredError,
)
from orchestrator.transfer.answer import Answer, error_of, is_success, receipt_of

MD5 = "0123456789abcdef0123456789abcdef"
OTHER_MD5 = "f" * 32


def judge(
    status: int, code: str | None = None, message: str | None = None, *, is_url_past: bool = False
) -> OrchestratorError:
    """The error of an answer to a body that was sent whole."""
    answer = Answer(status=status, code=code, message=message, request_id="R9")
    return error_of(answer, is_url_past=is_url_past, is_body_sent=True, retry_after=7.0)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (403, "AccessDenied", "Request has expired", UrlExpiredError),
        (400, "AccessDenied", "Request has expired", UrlExpiredError),
        (403, "RequestTimeTooSkewed", None, UrlExpiredError),
        (400, "ExpiredToken", None, UrlExpiredError),
        (403, "AccessDenied", "Access Denied", RefusedUploadError),
        (404, "NoSuchUpload", None, RefusedUploadError),
        (403, None, None, RefusedUploadError),
        (404, None, None, RefusedUploadError),
        (403, "SignatureDoesNotMatch", None, RequestRejectedError),
        (403, "InvalidAccessKeyId", None, RequestRejectedError),
        (403, "InArrearOrInsufficientBalance", None, RequestRejectedError),
        (403, "InsufficientStorageSpace", None, RequestRejectedError),
        (400, "EntityTooLarge", None, RequestRejectedError),
        (404, "NoSuchBucket", None, RequestRejectedError),
        (400, "InvalidArgument", None, RequestRejectedError),
        (400, None, None, RequestRejectedError),
        (400, "NeverHeardOf", None, RequestRejectedError),
        (405, "MethodNotAllowed", None, RequestRejectedError),
        (411, "MissingContentLength", None, RequestRejectedError),
        (412, "PreconditionFailed", None, RequestRejectedError),
        (501, "NotImplemented", None, RequestRejectedError),
        (301, "PermanentRedirect", None, RequestRejectedError),
        (400, "IncompleteBody", None, RetryableError),
        (408, "RequestTimeout", None, RetryableError),
        (408, None, None, RetryableError),
        (409, "OperationAborted", None, RetryableError),
        (500, "InternalError", None, InterruptedTransferError),
        (200, "InternalError", None, InterruptedTransferError),
        (500, None, None, InterruptedTransferError),
        (502, None, None, InterruptedTransferError),
        (504, None, None, InterruptedTransferError),
        (503, "SlowDown", None, ThrottledError),
        (500, "SlowDown", None, ThrottledError),
        (200, "SlowDown", None, ThrottledError),
        (503, None, None, ThrottledError),
        (429, "TooManyRequests", None, ThrottledError),
        (429, None, None, ThrottledError),
    ],
)
def test_answers_are_judged_by_code_before_status(
    status: int, code: str | None, message: str | None, kind: type[OrchestratorError]
) -> None:
    """Each answer becomes exactly the error that says what to do, with what a report needs."""
    error = judge(status, code, message)

    assert type(error) is kind
    assert (error.status, error.code, error.request_id) == (status, code, "R9")
    assert str(status) in error.message
    if isinstance(error, RetryableError):
        assert error.retry_after == 7.0
    if isinstance(error, InterruptedTransferError):
        assert error.is_body_sent


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", UrlExpiredError),
        (403, None, UrlExpiredError),
        (400, "InvalidURI", UrlExpiredError),
        (404, "NoSuchUpload", RefusedUploadError),
        (403, "SignatureDoesNotMatch", RequestRejectedError),
        (503, "SlowDown", ThrottledError),
        (400, "IncompleteBody", RetryableError),
    ],
)
def test_a_url_past_its_time_explains_vague_refusals_only(
    status: int, code: str | None, kind: type[OrchestratorError]
) -> None:
    """Our clock decides where the store's code does not."""
    assert type(judge(status, code, is_url_past=True)) is kind


def test_a_bad_signature_comes_with_a_hint() -> None:
    """The operator is told where to look."""
    hint = judge(403, "SignatureDoesNotMatch").hint

    assert hint is not None
    assert "proxy" in hint


def receipt_and_warnings(answer: Answer, md5: str | None) -> tuple[bool, list[str]]:
    """Whether the receipt is verified, and what was warned of."""
    warnings: list[str] = []
    receipt = receipt_of(answer, md5, warnings.append)
    assert (receipt.etag, receipt.md5) == (answer.etag, md5)
    return receipt.is_verified, warnings


def test_an_equal_etag_verifies() -> None:
    """Even where encryption would excuse a difference."""
    assert receipt_and_warnings(Answer(status=200, etag=MD5, is_encrypted=True), MD5) == (True, [])


def test_a_different_etag_is_a_mismatch() -> None:
    """Other bytes are stored than were sent: send them again."""
    with pytest.raises(ETagMismatchError, match=OTHER_MD5) as caught:
        receipt_of(Answer(status=200, etag=OTHER_MD5, request_id="R9"), MD5, pytest.fail)

    assert caught.value.request_id == "R9"


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Answer(status=200, etag=OTHER_MD5, is_encrypted=True), "encrypts"),
        (Answer(status=200, etag=f"{OTHER_MD5}-3"), "no MD5"),
        (Answer(status=200), "no ETag"),
    ],
)
def test_an_etag_that_can_be_no_md5_is_warned_of(answer: Answer, word: str) -> None:
    """Nothing to compare with is no failure, and no verification either."""
    is_verified, warnings = receipt_and_warnings(answer, MD5)

    assert not is_verified
    assert len(warnings) == 1
    assert word in warnings[0]


def test_without_a_digest_nothing_is_compared() -> None:
    """Verification off is neither verified nor worth a warning."""
    assert receipt_and_warnings(Answer(status=200, etag=OTHER_MD5), None) == (False, [])


def test_an_error_document_takes_success_back() -> None:
    """200 with an error inside is no success; other success statuses without one are."""
    assert is_success(Answer(status=200))
    assert not is_success(Answer(status=200, code="InternalError"))
    assert not is_success(Answer(status=202))
    assert not is_success(Answer(status=307))
