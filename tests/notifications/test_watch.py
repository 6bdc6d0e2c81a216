"""What `watch --notify` tells people: each failed review and the end, once, also over kills."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest

from orchestrator.simulator import SimulatorOptions
from tests.cli.conftest import SECRETS, Batch, Cli
from tests.notifications.room import TOKEN, Room

#: apprise asks Python for a module that a later one has no more.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
    pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)]),
    pytest.mark.usefixtures("simulator"),
]

REVIEW_FAILED = "studio: a review failed"
FINISHED = "studio: watch finished"


def with_a_refusal(batch: Batch) -> None:
    """Anna's review fails, Bo is well."""
    batch.write(batch.entry("anna") | {"name": "review-fail"}, batch.entry("bo"))


def test_a_failed_review_and_the_end_are_told_once(cli: Cli, batch: Batch, room: Room) -> None:
    """With the reviewer's reason; watching again says nothing, and no text holds a secret or the address."""
    with_a_refusal(batch)
    cli("run", batch.manifest, "--submit")
    flags = ("--interval", "0.01", "--notify", room.address)

    results = [cli("watch", "studio", *flags) for _ in range(2)]

    assert [result.exit_code for result in results] == [8, 8]
    assert room.titles == {REVIEW_FAILED: 1, FINISHED: 1}
    refusal, end = (
        next(post["message"] for post in room.posts if post["title"] == title)
        for title in (REVIEW_FAILED, FINISHED)
    )
    assert refusal.startswith("anna: ")
    assert refusal.endswith("(44005901)")
    assert end == "1 of 2 entries trained, 1 need attention; exit code 8"
    assert not any(secret in json.dumps(room.posts) for secret in SECRETS)
    assert not any(TOKEN in result.stdout + result.stderr for result in results)


def test_a_failed_review_that_watch_told_is_not_told_by_run(cli: Cli, batch: Batch, room: Room) -> None:
    """Nor the other way round: both keep it under the same subject."""
    with_a_refusal(batch)
    cli("run", batch.manifest, "--submit")
    cli("watch", "studio", "--interval", "0.01", "--notify", room.address)

    cli("run", batch.manifest, "--submit", "--notify", room.address)

    assert room.titles[REVIEW_FAILED] == 1


def test_only_the_entries_that_are_followed_are_told_of(cli: Cli, batch: Batch, room: Room) -> None:
    """Bo is through; that Anna's review failed as well is for who follows Anna."""
    with_a_refusal(batch)
    cli("run", batch.manifest, "--submit")
    cli("watch", "studio", "--interval", "0.01")

    result = cli("watch", "studio", "--entry", "bo", "--interval", "0.01", "--notify", room.address)

    assert result.exit_code == 0
    assert room.titles == {FINISHED: 1}
    assert room.posts[0]["message"] == "1 of 1 entries trained; exit code 0"


def test_nothing_is_finished_while_jobs_are_under_way(cli: Cli, batch: Batch, room: Room) -> None:
    """A watch that timed out has no end to tell of; `--until` makes another end of it."""
    cli("run", batch.manifest)
    flags = ("--interval", "0.01", "--notify", room.address)

    assert cli("watch", "studio", "--until", "submitted", *flags).exit_code == 8
    assert [post["message"] for post in room.posts] == [
        "0 of 2 entries submitted, 2 need attention; exit code 8"
    ]
    cli("submit", "studio")
    assert cli("watch", "studio", "--until", "submitted", *flags).exit_code == 0
    assert cli("watch", "studio", *flags).exit_code == 0

    assert [post["message"] for post in room.posts[1:]] == [
        "2 of 2 entries submitted; exit code 0",
        "2 of 2 entries trained; exit code 0",
    ]


def test_a_room_that_is_closed_is_one_warning_and_told_by_the_next_watch(
    cli: Cli, batch: Batch, room: Room
) -> None:
    """The exit code stays."""
    with_a_refusal(batch)
    cli("run", batch.manifest, "--submit")
    room.status = 503
    flags = ("--interval", "0.01", "--notify", room.address)

    first = cli("watch", "studio", *flags)
    room.status, room.posts = 200, []
    second = cli("watch", "studio", *flags)

    assert (first.exit_code, second.exit_code) == (8, 8)
    assert first.stderr.count("warning: json://... was not notified") == 1
    assert room.titles == {REVIEW_FAILED: 1, FINISHED: 1}


@pytest.mark.long
@pytest.mark.parametrize("title", [REVIEW_FAILED, FINISHED])
def test_each_is_received_once_though_the_watch_is_killed(
    cli: Cli,
    batch: Batch,
    room: Room,
    start_program: Callable[..., subprocess.Popen[str]],
    title: str,
) -> None:
    """While the room has the message and the answer is not there yet; the next watch sends what is left."""
    with_a_refusal(batch)
    state = ("--state", batch.folder / "journal.db")
    cli("run", batch.manifest, "--submit", *state)
    arguments = ("watch", "studio", "--interval", "0.01", *state, "--notify", room.address)
    watching = start_program(*arguments)
    room.on_post = lambda post: watching.kill() if post["title"] == title else None

    assert watching.wait(30) == -signal.SIGKILL
    room.on_post = lambda _post: None
    assert start_program(*arguments).wait(30) == 8

    assert room.titles == {REVIEW_FAILED: 1, FINISHED: 1}
