"""The gate before review: an entry that the service is known to refuse is held back, on every path.

A submitted job that passed its first review can no longer be deleted, so this is the one step that is guarded. What
is known of a film comes from the film itself while it is the one that was sent, else from what was kept of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import anyio.to_thread

from orchestrator.domain.assets import Asset, Fingerprint
from orchestrator.domain.errors import DecisionNeededError
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest.files import wanted_of
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.film import Film
from orchestrator.preflight.films.judging import judge_film
from orchestrator.preflight.films.reading import known_film, read_film
from orchestrator.preflight.look.kept import has_look

LOOK = "look"


async def hold_back(record: EntryRecord, *, requires: str | None) -> None:
    """Raise DecisionNeededError where the entry of *record* must not be submitted.

    With *requires* `look` each film must have been looked at as well.
    """
    reasons = await anyio.to_thread.run_sync(lambda: list(_reasons(record, requires)))
    if reasons:
        raise DecisionNeededError(
            f"held back from review: {'; '.join(reasons)}",
            code="HeldBack",
            hint=_hint(requires),
        )


def _hint(requires: str | None) -> str:
    look = "look at the films with `orchestrator validate MANIFEST --look quick`, " if requires else ""
    return f"{look}replace the film and run again, or submit it anyway with --submit-anyway"


def _reasons(record: EntryRecord, requires: str | None) -> Iterator[str]:
    cache = Cache()
    try:
        for asset in record.assets:
            if asset.kind.is_multipart:
                yield from _reasons_of_film(record, asset, cache, requires)
    finally:
        cache.close()


def _reasons_of_film(record: EntryRecord, asset: Asset, cache: Cache, requires: str | None) -> Iterator[str]:
    film = _film(asset, cache)
    for finding in judge_film(film, wanted_of(record.avatar, asset.kind)) if film else ():
        if finding.is_error:
            yield f"{asset.kind} {finding.message} [{finding.rule}]"
    if requires == LOOK and not has_look(cache, asset.fingerprint):
        yield f"{asset.kind} was not looked at, which submit_requires asks for"


def _film(asset: Asset, cache: Cache) -> Film | None:
    """The facts of the film that was sent; None where it is away and nothing was kept of it."""
    try:
        if Fingerprint.of(os.stat(asset.path)) == asset.fingerprint:  # noqa: PTH116 - as the files were planned
            return read_film(asset.path, cache)
    except OSError:
        pass
    return known_film(cache, asset.fingerprint)
