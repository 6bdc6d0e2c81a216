"""Faults strike when and how they are told to."""

import asyncio
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from hashlib import md5
from typing import Any

import aiohttp
import pytest

from orchestrator.simulator import FAULTS, OPERATIONS, Faults, Simulator, SimulatorOptions, parse_faults

BODY = b"0123456789" * 100_000
PUT_FAULTS = {name for name, fault in FAULTS.items() if "put" in fault.operations}
REFUSALS = {
    "slow-down": (503, b"SlowDown"),
    "early-slow-down": (503, b"SlowDown"),
    "error-500": (500, b"InternalError"),
    "too-many-requests": (429, b"TooManyRequests"),
    "conflict-409": (409, b"OperationAborted"),
    "timeout-408": (408, b"RequestTimeout"),
    "incomplete-body": (400, b"IncompleteBody"),
    "early-403": (403, b"AccessDenied"),
    "redirect": (307, b""),
}
STRANGE = {"intercepted", "page-404", "oversized-answer"}
LOST_BUT_STORED = {"lost-answer", "truncated-answer"}
ANSWERED = {"wrong-etag", "corrupt", "close-keepalive"}
HELD = {"stall", "never-answer"}


async def until(is_reached: Callable[[], bool]) -> None:
    """Wait for something that happens in the simulator's own time."""
    async with asyncio.timeout(3):
        while not is_reached():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_faults_are_read_from_text() -> None:
    """Names and rates, with spaces or without."""
    assert parse_faults("slow-down=0.05, reset=1,") == {"slow-down": 0.05, "reset": 1.0}
    assert parse_faults("") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("slowdown=0.1", "There is no fault 'slowdown'; known are .*slow-down"),
        ("reset=often", "from 0 to 1, not 'often'"),
        ("reset=1.5", "from 0 to 1, not 1.5"),
        ("reset", "from 0 to 1, not ''"),
    ],
)
def test_what_is_no_fault_is_named_with_those_that_are(text: str, sentence: str) -> None:
    """A ValueError an operator can act on."""
    with pytest.raises(ValueError, match=sentence):
        parse_faults(text)


def test_the_same_seed_draws_the_same_faults() -> None:
    """About as often as the rate says."""
    draws = []
    for seed in (1, 1, 2):
        faults = Faults({"slow-down": 0.2, "reset": 0.1}, seed)
        draws.append([faults.draw("put") for _ in range(1000)])

    assert draws[0] == draws[1] != draws[2]
    assert 150 < draws[0].count("slow-down") < 250
    assert 60 < draws[0].count("reset") < 140


def test_a_script_comes_before_the_rates() -> None:
    """None lets a request pass; afterwards the rates hold; every fault is counted."""
    faults = Faults({"slow-down": 1.0}, 0)
    faults.script("put", ["reset", None])

    assert [faults.draw("put") for _ in range(3)] == ["reset", None, "slow-down"]
    assert faults.draw("create") is None
    assert faults.counts == {"reset": 1, "slow-down": 1}


@pytest.mark.parametrize(("operation", "fault"), [("upload", "reset"), ("create", "reset"), ("put", "boom")])
def test_a_script_that_cannot_happen_is_refused(operation: str, fault: str) -> None:
    """Better at once than never struck."""
    with pytest.raises(ValueError, match=r"There is no|does not happen"):
        Faults({}, 0).script(operation, [fault])


def test_every_put_fault_is_tested_here() -> None:
    """A new one needs its line above."""
    assert set(REFUSALS) | LOST_BUT_STORED | ANSWERED | HELD | STRANGE | {"reset"} == PUT_FAULTS


@pytest.mark.parametrize("fault", sorted(REFUSALS))
async def test_a_refused_put_stores_nothing(client: Any, fault: str) -> None:
    """Status and XML code as OBS gives them."""
    created = await client.create()
    client.simulator.faults.script("put", [fault])

    answer = await client.put(created["training_video_upload_url"][0], BODY)

    assert (answer.status, REFUSALS[fault][1] in answer.body) == (REFUSALS[fault][0], True)
    assert client.job(created["job_id"]).parts["training_video"] == {}
    assert client.simulator.faults.counts == {fault: 1}


@pytest.mark.parametrize("fault", sorted(LOST_BUT_STORED))
async def test_a_lost_answer_is_stored(client: Any, fault: str) -> None:
    """The client sees a broken connection, the service has the part."""
    created = await client.create()
    client.simulator.faults.script("put", [fault])

    with pytest.raises(aiohttp.ClientError):
        await client.put(created["training_video_upload_url"][0], BODY)

    assert client.job(created["job_id"]).parts["training_video"] == {1: md5(BODY).hexdigest()}


async def test_a_reset_stores_nothing(client: Any) -> None:
    """The connection is reset with about half of the body read."""
    created = await client.create()
    client.simulator.faults.script("put", ["reset"])

    with pytest.raises(aiohttp.ClientOSError, match=r"reset|Broken pipe|write request body"):
        await client.put(created["training_video_upload_url"][0], BODY)

    assert client.job(created["job_id"]).parts["training_video"] == {}
    assert 0 < client.simulator.stats.put_bytes_received < len(BODY)


@pytest.mark.parametrize("fault", sorted(HELD))
async def test_a_held_put_ends_when_the_client_gives_up(client: Any, fault: str) -> None:
    """No answer comes; once the client is gone the exchange is over, and nothing is stored."""
    created = await client.create()
    client.simulator.faults.script("put", [fault])

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.put(created["training_video_upload_url"][0], BODY)
    await until(lambda: client.simulator.stats.puts_in_flight.current == 0)

    assert client.job(created["job_id"]).parts["training_video"] == {}


async def test_a_simulator_stops_while_it_holds_a_put() -> None:
    """Nobody waits for the end of a stall."""
    simulator = Simulator(SimulatorOptions(fault_rates={"stall-api": 1.0}))
    await simulator.start()
    async with aiohttp.ClientSession(headers={"X-Auth-Token": simulator.options.token}) as session:
        url = (
            f"{simulator.endpoint}/v1/{simulator.options.project_id}/digital-human-training-manage/user/jobs"
        )
        call = asyncio.ensure_future(session.get(url))
        await until(lambda: simulator.stats.api_in_flight.current == 1)

        async with asyncio.timeout(3):
            await simulator.stop()

        with pytest.raises(aiohttp.ClientError):
            await call


@pytest.mark.parametrize(
    ("fault", "is_answer_true", "is_stored_right"),
    [("wrong-etag", False, True), ("corrupt", True, False), ("close-keepalive", True, True)],
)
async def test_an_answer_or_the_stored_part_may_be_wrong(
    client: Any, fault: str, is_answer_true: bool, is_stored_right: bool
) -> None:
    """The service always knows what is really stored."""
    created = await client.create()
    client.simulator.faults.script("put", [fault])

    answer = await client.put(created["training_video_upload_url"][0], BODY)
    stored = client.job(created["job_id"]).parts["training_video"][1]

    assert answer.status == 200
    assert (answer.headers["etag"] == f'"{stored}"') is is_answer_true
    assert (stored == md5(BODY).hexdigest()) is is_stored_right


async def test_a_connection_may_close_unannounced(client: Any) -> None:
    """The answer is whole and does not say that the connection ends."""
    created = await client.create()
    client.simulator.faults.script("put", ["close-keepalive"])

    answer = await client.raw_put(created["cover_upload_url"], "Content-Length: 5", b"cover")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" not in answer.lower()


async def test_an_early_answer_comes_before_the_body(client: Any) -> None:
    """The store answers and closes without having read it."""
    created = await client.create()
    client.simulator.faults.script("put", ["early-403"])

    await client.put(created["training_video_upload_url"][0], BODY)

    assert client.simulator.stats.put_bytes_received == 0


@pytest.mark.parametrize("fault", ["lost-create", "lost-answer-api", "truncated-json", "close-keepalive-api"])
async def test_a_create_whose_answer_is_spoilt_has_made_the_job(client: Any, fault: str) -> None:
    """The orphan can be found by its tag."""
    client.simulator.faults.script("create", [fault])
    try:
        answer = await client.call("POST", body={"name": "anna", "tags": ["mine"]})
    except aiohttp.ClientError:
        assert fault in ("lost-create", "lost-answer-api")
    else:
        assert (fault == "close-keepalive-api") is answer.body.endswith(b"}")

    assert [job.tags for job in client.simulator.jobs] == [("mine",)]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("error-500-api", 500, "MSS.00000004"),
        ("throttle-429", 429, "APIGW.0308"),
        ("task-limit", 403, "MSS.41000012"),
    ],
)
async def test_a_refused_create_has_made_nothing(client: Any, fault: str, status: int, code: str) -> None:
    """It may be sent again."""
    client.simulator.faults.script("create", [fault])

    answer = await client.call("POST", body={"name": "anna"})

    assert (answer.status, answer.document["error_code"]) == (status, code)
    assert client.simulator.jobs == []


async def test_a_reset_call_has_done_nothing(client: Any) -> None:
    """The connection is reset, not merely closed, before anything happens."""
    client.simulator.faults.script("create", ["reset-api"])

    with pytest.raises(aiohttp.ClientOSError, match="reset"):
        await client.call("POST", body={"name": "anna"})

    assert client.simulator.jobs == []


async def test_a_throttled_answer_may_say_when_to_come_back(client: Any) -> None:
    """In seconds, as an HTTP date, or not at all."""
    client.simulator.faults.script("list", ["throttle-429", "throttle-429-seconds", "throttle-429-date"])

    answers = [await client.call("GET") for _ in range(3)]

    told = [answer.headers.get("retry-after") for answer in answers]
    assert told[:2] == [None, "1"]
    assert parsedate_to_datetime(told[2]).timestamp() == client.clock.now + 1


@pytest.mark.parametrize(
    ("command", "operation", "fault"),
    [("CONFIRM_MULTIPART_UPLOADED", "confirm", "lost-confirm"), ("SUBMITVERIFYING", "submit", "lost-submit")],
)
async def test_a_lost_command_is_done(client: Any, command: str, operation: str, fault: str) -> None:
    """Its repetition is refused, and the job shows that it went through."""
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")
    if command == "SUBMITVERIFYING":
        await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")
    client.simulator.faults.script(operation, [fault])

    with pytest.raises(aiohttp.ClientError):
        await client.command(created["job_id"], command)
    again = await client.command(created["job_id"], command)

    assert again["commond_result"] == "EXCUTE_FAILED"
    assert client.job(created["job_id"]).confirmations == {"training_video": 1}
    assert client.job(created["job_id"]).submissions == (operation == "submit")


@pytest.mark.parametrize(
    ("fault", "confirmations"), [("ok-with-error-body", {}), ("false-refusal", {"training_video": 1})]
)
async def test_an_ok_with_an_error_body_leaves_open_what_was_done(
    client: Any, fault: str, confirmations: dict[str, int]
) -> None:
    """The same answer whether the command was executed or not."""
    created = await client.create()
    await client.put(created["training_video_upload_url"][0], b"film")
    client.simulator.faults.script("confirm", [fault])

    answer = await client.command(created["job_id"], "CONFIRM_MULTIPART_UPLOADED")

    assert answer["commond_result"] == "EXCUTE_FAILED"
    assert client.job(created["job_id"]).confirmations == confirmations


async def test_something_in_between_answers_and_stores_nothing(client: Any) -> None:
    """In turns HTML, JSON and nothing: a 200 without an ETag, a request id or the store's name."""
    created = await client.create()
    client.simulator.faults.script("put", ["intercepted"] * 3)

    answers = [await client.put(created["cover_upload_url"], b"cover") for _ in range(3)]

    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["content-type"].partition(";")[0] for answer in answers} == {
        "text/html",
        "application/json",
        "application/octet-stream",
    }
    assert not any({"etag", "x-obs-request-id"} & set(answer.headers) for answer in answers)
    assert not any("OBS" in answer.headers["server"] for answer in answers)
    assert client.job(created["job_id"]).objects == {}


async def test_a_page_in_between_says_404_and_nothing_is_done(client: Any) -> None:
    """HTML with neither a code nor an id of the service or the store."""
    created = await client.create()
    client.simulator.faults.script("delete", ["page-404-api"])
    client.simulator.faults.script("put", ["page-404"])

    deleted = await client.call("DELETE", f"/{created['job_id']}")
    put = await client.put(created["cover_upload_url"], b"cover")

    assert (deleted.status, put.status) == (404, 404)
    assert not {"x-request-id", "x-obs-request-id"} & {*deleted.headers, *put.headers}
    assert client.job(created["job_id"]).objects == {}


async def test_a_call_that_is_intercepted_is_not_done(client: Any) -> None:
    """The 200 is no answer of the service."""
    client.simulator.faults.script("create", ["intercepted-api"])

    answer = await client.call("POST", body={"name": "anna"})

    assert (answer.status, "x-request-id" in answer.headers) == (200, False)
    assert client.simulator.jobs == []


async def test_an_answer_may_be_far_too_long(client: Any) -> None:
    """Some kilobytes on the wire become 16 MiB; what was asked for is done."""
    client.simulator.faults.script("create", ["oversized-answer-api"])
    client.simulator.faults.script("put", ["oversized-answer"])

    created = await client.call("POST", body={"name": "anna"})
    put = await client.put(created.document["cover_upload_url"], b"cover")

    assert all(len(answer.body) >= 16 << 20 for answer in (created, put))
    assert all(int(answer.headers["content-length"]) < 1 << 20 for answer in (created, put))
    assert client.job(created.document["job_id"]).objects["cover"].read_bytes() == b"cover"


def test_every_fault_tells_what_it_does_and_where() -> None:
    """The command line lists them."""
    assert all(fault.effect and fault.operations <= OPERATIONS for fault in FAULTS.values())
