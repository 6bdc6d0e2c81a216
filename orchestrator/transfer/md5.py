"""MD5s of several streams at once.

Where the compiled module is missing, because there was no C compiler when the package was installed, hashlib does
it one stream after another: the same digests at several times the cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, Protocol

Piece = bytes | bytearray | memoryview


class Digest(Protocol):
    """An MD5 that grows."""

    def hexdigest(self) -> str:
        """The digest of all that was taken so far."""


@dataclass(frozen=True, slots=True)
class Md5:
    """A way to compute MD5s."""

    #: How many streams advance in about the time of one.
    lanes: int
    #: Makes the digest of a stream of which nothing is known yet.
    new_digest: Callable[[], Digest]
    #: Lets each of at most `lanes` digests, made by `new_digest`, take its piece.
    update_all: Callable[[Sequence[Any], Sequence[Piece]], None]

    def of_all(self, bodies: Sequence[Piece]) -> list[str]:
        """The hex digests of *bodies*, however many they are."""
        digests = [self.new_digest() for _ in bodies]
        for first in range(0, len(bodies), self.lanes):
            group = slice(first, first + self.lanes)
            self.update_all(digests[group], bodies[group])
        return [digest.hexdigest() for digest in digests]


def _update_in_turn(digests: Sequence[hashlib._Hash], pieces: Sequence[Piece]) -> None:
    for digest, piece in zip(digests, pieces, strict=True):
        digest.update(piece)


HASHLIB: Final = Md5(
    lanes=1,
    # Where FIPS rules hold, MD5 is refused for anything that could be security.
    new_digest=partial(hashlib.md5, usedforsecurity=False),
    update_all=_update_in_turn,
)


@cache
def best_md5() -> Md5:
    """The cheapest way this machine has, shown to agree with hashlib."""
    try:
        from orchestrator.transfer import _multibuffer_md5 as multibuffer  # noqa: PLC0415 - may be missing
    except ImportError:
        return HASHLIB
    found = Md5(lanes=multibuffer.LANES, new_digest=multibuffer.Digest, update_all=multibuffer.update_all)
    return found if _agrees_with_hashlib(found) else HASHLIB


def _agrees_with_hashlib(md5: Md5) -> bool:
    """Try each lane: a compiler's mistake would otherwise look like a store that damages every upload."""
    bodies = [bytes([lane]) * (100 + lane) for lane in range(md5.lanes)]
    return md5.of_all(bodies) == HASHLIB.of_all(bodies)
