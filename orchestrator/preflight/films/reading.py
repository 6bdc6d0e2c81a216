"""Opening a film and reading the few kilobytes that its facts need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from orchestrator.domain.assets import Fingerprint
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.film import Film, examine_film

_KIND = "film"


def read_film(path: str, cache: Cache | None = None) -> Film:
    """The facts of the film at *path*, from *cache* where it is still that film.

    Raises OSError when it cannot be read.
    """
    with opened(path) as descriptor:
        status = os.fstat(descriptor)
        known = cache.get(_KIND, status) if cache else None
        if known is not None:
            with contextlib.suppress(TypeError):  # written by another version of the program
                return _film(known)
        film = examine_film(lambda offset, length: _read(descriptor, offset, length), status.st_size)
        if cache:
            cache.put(_KIND, status, asdict(film))
        return film


def known_film(cache: Cache, fingerprint: Fingerprint) -> Film | None:
    """The facts that *cache* kept of a film which may be away by now."""
    known = cache.find(_KIND, fingerprint)
    with contextlib.suppress(TypeError):
        return _film(known) if known else None
    return None


def _film(known: dict[str, Any]) -> Film:
    pixel = known.pop("pixel", None)
    return Film(**known, pixel=tuple(pixel) if pixel else None)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of *path* for reading."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """*length* bytes from *offset*, fewer at the end of the file: one read may give less than it was asked for."""
    pieces = []
    while length > 0:
        piece = os.pread(descriptor, min(length, 1 << 30), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)
