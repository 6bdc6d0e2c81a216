"""Faults of requests: seeded rates and exact scripts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Fault:
    """The effect of a fault, and the operations that it can affect."""

    effect: str
    operations: frozenset[str]


_UPLOAD_COMMANDS = frozenset({"confirm", "confirm-action", "list-parts", "list-action-parts", "delete-video"})
_COMMANDS = _UPLOAD_COMMANDS | {"submit", "confirm-letter", "command"}
_API = _COMMANDS | {"create", "list", "show", "update", "delete"}
_PUT = frozenset({"put"})
_REVIEW = frozenset({"review"})

FAULTS: Mapping[str, Fault] = {
    "slow-down": Fault("503 SlowDown after the body", _PUT),
    "early-slow-down": Fault("503 SlowDown while the body still arrives, then the connection closes", _PUT),
    "error-500": Fault("500 InternalError after the body", _PUT),
    "too-many-requests": Fault("429 TooManyRequests after the body", _PUT),
    "conflict-409": Fault("409 OperationAborted after the body", _PUT),
    "timeout-408": Fault("408 RequestTimeout in the middle of the body, then the connection closes", _PUT),
    "incomplete-body": Fault("400 IncompleteBody after the body", _PUT),
    "reset": Fault("connection reset in the middle of the body", _PUT),
    "lost-answer": Fault("stored, then the connection drops without an answer", _PUT),
    "truncated-answer": Fault("stored, then the connection drops in the middle of the answer", _PUT),
    "stall": Fault("the body is not read and no answer comes", _PUT),
    "never-answer": Fault("the body is read, nothing is stored and no answer comes", _PUT),
    "early-403": Fault("403 AccessDenied while the body still arrives, then the connection closes", _PUT),
    "wrong-etag": Fault("stored as sent, but the answer has another ETag", _PUT),
    "corrupt": Fault("stored with one bit changed; the ETag is that of what is stored", _PUT),
    "close-keepalive": Fault("stored and answered, then the connection closes unannounced", _PUT),
    "redirect": Fault("307 to another host after the body", _PUT),
    "intercepted": Fault(
        "not stored; something in between answers 200 with HTML, JSON or nothing, in turns", _PUT
    ),
    "page-404": Fault("not stored; something in between answers 404 with HTML", _PUT),
    "oversized-answer": Fault("stored, then answered with 16 MiB of gzip", _PUT),
    "lost-create": Fault("done, then the connection drops without an answer", frozenset({"create"})),
    "lost-confirm": Fault(
        "done, then the connection drops without an answer", frozenset({"confirm", "confirm-action"})
    ),
    "lost-submit": Fault("done, then the connection drops without an answer", frozenset({"submit"})),
    "lost-update": Fault("done, then the connection drops without an answer", frozenset({"update"})),
    "lost-delete": Fault("done, then the connection drops without an answer", frozenset({"delete"})),
    "lost-answer-api": Fault("done, then the connection drops without an answer", _API),
    "truncated-json": Fault("done, answered with half of the body", _API),
    "close-keepalive-api": Fault("done and answered, then the connection closes unannounced", _API),
    "false-refusal": Fault("done, answered with 200 and EXCUTE_FAILED", _COMMANDS),
    "ok-with-error-body": Fault("not done, answered with 200 and EXCUTE_FAILED", _COMMANDS),
    "intercepted-api": Fault(
        "not done; something in between answers 200 with HTML, JSON or nothing, in turns", _API
    ),
    "page-404-api": Fault("not done; something in between answers 404 with HTML", _API),
    "oversized-answer-api": Fault("done, answered with 16 MiB of gzip", _API),
    "task-limit": Fault("not done, 403 MSS.41000012", frozenset({"create"})),
    "reset-api": Fault("not done, connection reset", _API),
    "stall-api": Fault("not done, no answer comes", _API),
    "error-500-api": Fault("not done, 500 MSS.00000004", _API),
    "throttle-429": Fault("not done, 429 APIGW.0308 with Retry-After as the options say", _API),
    "throttle-429-seconds": Fault("not done, 429 APIGW.0308 with Retry-After in seconds", _API),
    "throttle-429-date": Fault("not done, 429 APIGW.0308 with Retry-After as an HTTP date", _API),
    "review-fail": Fault("the automatic review of a job says no, once", _REVIEW),
    "manual-review-fail": Fault("the manual review of a job says no, once", _REVIEW),
}
OPERATIONS = frozenset().union(*(fault.operations for fault in FAULTS.values()))
"""What faults are scripted by; "review" is the review of a submitted job."""


def parse_faults(text: str) -> dict[str, float]:
    """Parse rates from "name=rate,name=rate"; raise ValueError that lists the known faults."""
    rates = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, rate = item.partition("=")
        rates[name.strip()] = _rate(name.strip(), rate.strip())
    return rates


def _rate(name: str, text: str) -> float:
    _check_name(name)
    try:
        rate = float(text)
    except ValueError:
        raise ValueError(f"The rate of fault {name!r} must be a number from 0 to 1, not {text!r}.") from None
    _check_rate(name, rate)
    return rate


def _check_name(name: str) -> None:
    if name not in FAULTS:
        raise ValueError(f"There is no fault {name!r}; known are {', '.join(sorted(FAULTS))}.")


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"The rate of fault {name!r} must be a number from 0 to 1, not {rate}.")


class Faults:
    """A source of faults: for each request, from the operation's script until it ends, then by the rates."""

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        for name, rate in rates.items():
            _check_name(name)
            _check_rate(name, rate)
        self.rates = dict(rates)
        self.counts: Counter[str] = Counter()
        self._random = Random(seed)
        self._scripts: dict[str, deque[str | None]] = {}

    def script(self, operation: str, faults: Iterable[str | None]) -> None:
        """Script the next requests of *operation*, None for a good one; raise ValueError for an impossible fault."""
        if operation not in OPERATIONS:
            raise ValueError(
                f"There is no operation {operation!r}; known are {', '.join(sorted(OPERATIONS))}."
            )
        planned = list(faults)
        for name in filter(None, planned):
            _check_name(name)
            if operation not in FAULTS[name].operations:
                raise ValueError(f"Fault {name!r} does not happen to {operation!r}.")
        self._scripts.setdefault(operation, deque()).extend(planned)

    def draw(self, operation: str) -> str | None:
        """Return the fault for this request of *operation*, None for none, and count it."""
        script = self._scripts.get(operation)
        fault = script.popleft() if script else self._by_rate(operation)
        if fault is not None:
            self.counts[fault] += 1
        return fault

    def _by_rate(self, operation: str) -> str | None:
        possible = [(name, rate) for name, rate in self.rates.items() if operation in FAULTS[name].operations]
        if not possible:
            return None
        point = self._random.random()
        for name, rate in possible:
            if point < rate:
                return name
            point -= rate
        return None
