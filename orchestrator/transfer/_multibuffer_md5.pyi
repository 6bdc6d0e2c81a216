"""What `_multibuffer_md5.c` makes."""

from collections.abc import Sequence
from typing import Final

from orchestrator.transfer.hashing import Piece

LANES: Final[int]

class Digest:
    """An MD5 that grows; `update_all` feeds it."""

    def hexdigest(self) -> str:
        """The MD5 of all that was taken so far; raises RuntimeError while a thread updates it."""

def update_all(digests: Sequence[Digest], pieces: Sequence[Piece]) -> None:
    """Let each digest take its piece, without the interpreter's lock.

    Raises ValueError for more than LANES, or as many of one as not of the other; RuntimeError for a digest named
    twice or in use by another thread.
    """
