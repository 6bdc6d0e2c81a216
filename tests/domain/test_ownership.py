"""Which jobs are ours: the tag decides, and whatever contradicts it is heard."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest

from orchestrator.domain.entries import (
    CLOCK_SKEW_SECONDS,
    Create,
    SeenJob,
    instant,
    listed_since,
    may_be_ours,
    proves_ours,
)

TAG = "orch:aaaaaaaaaaaa:bbbbbbbbbbbb:1"
CREATE = Create(
    batch="aaaaaaaaaaaa", entry_id="anna", tag=TAG, made_at=10_000.0, names=("Zoë",), batch_name="studio é"
)
JOB = SeenJob(job_id="j", name="Zoë", batch_name="studio é", tags=("holiday", TAG), created_at=10_000.0)


def decomposed(text: str) -> str:
    """*text* as some systems store names."""
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("change", "is_ours", "may_be"),
    [
        pytest.param({}, True, True, id="tag, name, batch and time"),
        pytest.param({"tags": ()}, False, True, id="no tags shown"),
        pytest.param({"tags": ("holiday",)}, False, True, id="only a person's tags"),
        pytest.param({"tags": (TAG[:-1] + "2",)}, False, True, id="another create's tag"),
        pytest.param({"tags": (TAG + "2",)}, False, True, id="a tag that begins like ours"),
        pytest.param({"name": "Anna"}, False, False, id="another name"),
        pytest.param({"batch_name": "other"}, False, False, id="another batch"),
        pytest.param({"batch_name": None}, False, False, id="no batch"),
        pytest.param({"name": decomposed("Zoë")}, True, True, id="the name taken apart"),
        pytest.param({"batch_name": decomposed("studio é")}, True, True, id="the batch's name taken apart"),
        pytest.param({"created_at": None}, True, True, id="no time told"),
        pytest.param({"created_at": 10_000.0 + 1e6}, True, True, id="made late"),
        pytest.param({"created_at": 10_000.0 - CLOCK_SKEW_SECONDS}, True, True, id="clocks that disagree"),
        pytest.param({"created_at": 9_999.0 - CLOCK_SKEW_SECONDS}, False, False, id="made before the create"),
    ],
)
def test_a_job_is_ours_by_the_exact_tag_and_only_while_nothing_contradicts_it(
    change: dict[str, object], is_ours: bool, may_be: bool
) -> None:
    """A missing tag proves nothing, however much else fits."""
    job = replace(JOB, **change)  # type: ignore[arg-type]  # one field of any type

    assert proves_ours(CREATE, job) is is_ours
    assert may_be_ours(CREATE, job) is may_be


def test_a_job_that_took_the_entry_s_new_name_stays_ours() -> None:
    """An update carries the name of the manifest as it is then."""
    create = replace(CREATE, names=("Zoë", "Zoë the second"))

    assert proves_ours(create, replace(JOB, name="Zoë the second"))


def test_times_are_read_as_the_service_writes_them_and_never_guessed() -> None:
    """A time without a zone could mean any."""
    assert instant("1970-01-01T00:01:40Z") == 100.0
    assert instant("1970-01-01T08:01:40+08:00") == 100.0
    for unreadable in (None, "", "null", "yesterday", "1970-01-01T00:01:40", "0001-01-01T00:00:00+14:00"):
        assert instant(unreadable) in {None, -62135647200.0}


def test_jobs_are_listed_from_a_little_before_the_create() -> None:
    """In the service's own form of 20 characters; from any time where the clock says nothing sensible."""
    assert listed_since(1_700_000_900.0) == "2023-11-14T22:13:20Z"
    assert listed_since(5.0) is None
    assert listed_since(1e30) is None
