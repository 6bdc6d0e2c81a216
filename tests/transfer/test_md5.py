"""MD5s of several streams at once agree with hashlib, whatever their lengths and the order of their pieces."""

from __future__ import annotations

import hashlib
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.transfer.hashing import HASHLIB, Md5, best_md5

LOCK_STEP = best_md5()
needs_compiled = pytest.mark.skipif(
    LOCK_STEP is HASHLIB, reason="the compiled module is missing: no C compiler at installation"
)
EVERY_WAY = pytest.mark.parametrize("md5", [HASHLIB, pytest.param(LOCK_STEP, marks=needs_compiled)])

#: Around the places where a block, or the padding behind the last one, ends.
lengths = st.one_of(st.sampled_from([0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128]), st.integers(0, 3000))


@st.composite
def streams(draw: st.DrawFn) -> list[list[bytes]]:
    """Up to LANES streams, each as the same number of pieces, of any lengths."""
    rounds = draw(st.integers(1, 4))
    count = draw(st.integers(1, LOCK_STEP.lanes))
    seed = draw(st.randoms(use_true_random=False))
    return [[seed.randbytes(draw(lengths)) for _ in range(rounds)] for _ in range(count)]


@needs_compiled
@settings(deadline=None)
@given(streams())
def test_streams_in_lock_step_have_the_digests_hashlib_tells(pieces: list[list[bytes]]) -> None:
    """Lanes that run dry early, tails shorter than a block and empty pieces change nobody's digest."""
    digests = [LOCK_STEP.new_digest() for _ in pieces]

    for taken in zip(*pieces, strict=True):
        LOCK_STEP.update_all(digests, taken)

    expected = [hashlib.md5(b"".join(stream)).hexdigest() for stream in pieces]
    assert [digest.hexdigest() for digest in digests] == expected


@EVERY_WAY
def test_rfc_1321s_own_examples_come_out(md5: Md5) -> None:
    """RFC 1321, appendix A.5."""
    bodies = [b"", b"a", b"abc", b"message digest", b"abcdefghijklmnopqrstuvwxyz", b"1234567890" * 8]

    assert md5.of_all(bodies) == [
        "d41d8cd98f00b204e9800998ecf8427e",
        "0cc175b9c0f1b6a831c399e269772661",
        "900150983cd24fb0d6963f7d28e17f72",
        "f96b697d7cb7938d525a2f31aaf161d0",
        "c3fcd3d76192e4007dfb496cca67e13b",
        "57edf4a22be3c955ac49da2e2107b67a",
    ]


@EVERY_WAY
def test_more_bodies_than_lanes_are_hashed_in_groups(md5: Md5) -> None:
    """Each gets its own digest, in the order asked for; none are no trouble either."""
    bodies = [bytes([number]) * (1000 - number) for number in range(2 * md5.lanes + 1)]

    assert md5.of_all(bodies) == [hashlib.md5(body).hexdigest() for body in bodies]
    assert md5.of_all([]) == []


@needs_compiled
def test_a_digest_can_be_told_and_then_grow_on() -> None:
    """Telling pads a copy."""
    [digest] = [LOCK_STEP.new_digest()]
    LOCK_STEP.update_all([digest], [b"abc"])
    first = digest.hexdigest()
    LOCK_STEP.update_all([digest], [b"def"])

    assert (first, digest.hexdigest()) == tuple(hashlib.md5(body).hexdigest() for body in (b"abc", b"abcdef"))


@needs_compiled
@pytest.mark.long
def test_lengths_beyond_32_bits_count() -> None:
    """The padding holds the length in bits as a 64-bit number; those of 512 MiB need 33."""
    piece = memoryview(bytearray(64 * 1024 * 1024))
    digest, expected = LOCK_STEP.new_digest(), hashlib.md5(b"one more")
    LOCK_STEP.update_all([digest], [b"one more"])
    for _ in range(8):
        LOCK_STEP.update_all([digest], [piece])
        expected.update(piece)

    assert digest.hexdigest() == expected.hexdigest()


@needs_compiled
def test_what_cannot_be_hashed_is_refused_and_leaves_no_digest_in_use() -> None:
    """The others of the call take nothing, and take the next piece as if nothing had been."""
    digest = LOCK_STEP.new_digest()
    wrong: list[tuple[type[Exception], list[Any], list[Any]]] = [
        (ValueError, [digest], []),
        (ValueError, [LOCK_STEP.new_digest()] * (LOCK_STEP.lanes + 1), [b""] * (LOCK_STEP.lanes + 1)),
        (RuntimeError, [digest, digest], [b"a", b"b"]),
        (TypeError, [digest, hashlib.md5()], [b"a", b"b"]),
        (TypeError, [digest, LOCK_STEP.new_digest()], [b"a", "text"]),
        (TypeError, [digest], 1),  # type: ignore[list-item]
    ]
    for error, digests, pieces in wrong:
        with pytest.raises(error):
            LOCK_STEP.update_all(digests, pieces)

    LOCK_STEP.update_all([digest], [b"abc"])
    assert digest.hexdigest() == hashlib.md5(b"abc").hexdigest()


@needs_compiled
def test_refused_calls_keep_no_reference() -> None:
    """A year of them would not grow the process."""
    digest, piece = LOCK_STEP.new_digest(), bytearray(100)
    before = sys.getrefcount(digest), sys.getrefcount(piece)
    for _ in range(10):
        LOCK_STEP.update_all([digest], [piece])
        with pytest.raises(RuntimeError):
            LOCK_STEP.update_all([digest, digest], [piece, piece])

    assert (sys.getrefcount(digest), sys.getrefcount(piece)) == before
    piece.append(0)  # a buffer still exported would forbid it


@needs_compiled
def test_other_threads_run_while_streams_are_hashed() -> None:
    """The interpreter's lock is not held: a digest in use is seen, and refused, by another thread."""
    digest, piece = LOCK_STEP.new_digest(), memoryview(bytearray(64 * 1024 * 1024))
    hashing = threading.Thread(target=LOCK_STEP.update_all, args=([digest], [piece]))
    hashing.start()
    refusals = 0
    while hashing.is_alive():
        try:
            digest.hexdigest()
        except RuntimeError:
            refusals += 1
    hashing.join()

    assert refusals > 0


def test_a_module_that_disagrees_with_hashlib_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miscompiled one would look like a store that damages every upload."""

    class Miscompiled:
        LANES = 4
        Digest = hashlib.sha1

        @staticmethod
        def update_all(digests: list[Any], pieces: list[bytes]) -> None:
            for digest, piece in zip(digests, pieces, strict=True):
                digest.update(piece)

    monkeypatch.setattr("orchestrator.transfer._multibuffer_md5", Miscompiled, raising=False)
    monkeypatch.setitem(sys.modules, "orchestrator.transfer._multibuffer_md5", Miscompiled)

    assert best_md5.__wrapped__() is HASHLIB


def test_a_missing_module_means_hashlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package works where it could not be compiled."""
    monkeypatch.delattr("orchestrator.transfer._multibuffer_md5", raising=False)
    monkeypatch.setitem(sys.modules, "orchestrator.transfer._multibuffer_md5", None)

    assert best_md5.__wrapped__() is HASHLIB
