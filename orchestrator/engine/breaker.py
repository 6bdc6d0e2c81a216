"""The circuit breaker: the same refusal for several entries in a row is one of the whole account."""

from __future__ import annotations

from orchestrator.domain.errors import OrchestratorError, RequestRejectedError, ServiceRefusesError

#: Refusals that concern the account rather than the one entry: authentication, payment, permission.
_ACCOUNT_STATUSES = frozenset({401, 402, 403})


class Breaker:
    """Counts equal refusals in a row; opens at *threshold* of them."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._last: tuple[int | None, str | None] | None = None
        self._count = 0

    def passed(self) -> None:
        """An entry came through: the service works."""
        self._last, self._count = None, 0

    def failed(self, error: OrchestratorError) -> ServiceRefusesError | None:
        """Count an entry's failure; the error that stops the run when there were enough of a kind."""
        if not isinstance(error, RequestRejectedError) or error.status not in _ACCOUNT_STATUSES:
            return None
        refusal = (error.status, error.code)
        self._count = self._count + 1 if refusal == self._last else 1
        self._last = refusal
        if self._count < self._threshold:
            return None
        return error.restated(
            ServiceRefusesError,
            f"the service refused {self._count} entries in a row alike: {error.message}",
            hint=error.hint or "check quota, balance and permissions of the account, then run again",
        )
