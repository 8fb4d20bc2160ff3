"""A budget of bytes that threads share, so that memory does not grow with the size or number of images."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class ByteBudget:
    """Hands out bytes up to a total; threads that want more have to wait.

    A thread that asks for more than the total gets it while no other one holds any.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._changed = threading.Condition()

    def acquire(self, size: int) -> None:
        """Takes `size` bytes, waiting for them if need be."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + size <= self._total)
            self._held += size

    def release(self, size: int) -> None:
        """Gives `size` bytes back."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    @contextlib.contextmanager
    def hold(self, size: int, kept: int = 0) -> Iterator[None]:
        """Holds `size` bytes for the `with` block, waiting for them if need be. Of these, `kept` bytes stay held after
        it, to be given back by `release`, unless the block raises."""
        self.acquire(size)
        left = 0
        try:
            yield
            left = kept
        finally:
            self.release(size - left)
