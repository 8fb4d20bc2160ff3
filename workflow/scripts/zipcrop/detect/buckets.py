"""Buckets: images that wait for the engine, by the shape of their letterbox, since a batch has one shape."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar


class Shaped(Protocol):
    """An item with a letterbox."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the letterbox, pixels."""
        ...


T = TypeVar("T", bound=Shaped)


class Buckets(Generic[T]):
    """A queue that gives batches of one shape."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, int], deque[tuple[int, T]]] = {}
        self._arrivals = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Adds an item."""
        with self._changed:
            self._buckets.setdefault(item.shape, deque()).append((self._arrivals, item))
            self._arrivals += 1
            self._changed.notify()

    def close(self) -> None:
        """Says that no more items will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, batch: int) -> list[T]:
        """The item that has waited longest, with others of its shape, `batch` at most. Waits if there is none; empty
        once the queue is closed and used up.

        It never waits for a batch to fill: an engine that asks is idle, and while it is busy the next batch grows by
        itself.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._buckets or self._closed)
            if not self._buckets:
                return []
            shape, bucket = min(self._buckets.items(), key=lambda entry: entry[1][0][0])
            taken = [bucket.popleft()[1] for _ in range(min(batch, len(bucket)))]
            if not bucket:
                del self._buckets[shape]
            return taken
