"""Memory for the pieces in which files are copied."""

from __future__ import annotations


class Buffers:
    """Buffers that are used again, the last one first: the core's cache still knows it.

    Threads may share them.
    """

    def __init__(self, size: int) -> None:
        """Make buffers of *size* bytes as they are needed."""
        self._size = size
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """One that nobody else has."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(bytearray(self._size))

    def give_back(self, buffer: memoryview) -> None:
        """Take back a buffer that nobody will look at any more."""
        self._free.append(buffer)
