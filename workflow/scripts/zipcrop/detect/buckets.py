"""Buckets: images that wait for the engine, by the shape of their letterbox, since a batch has one shape."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

PATIENCE = 2.0
"""Seconds after which an image goes before others whose batch would be fuller."""


class Shaped(Protocol):
    """An item with a letterbox."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the letterbox, pixels."""
        ...


T = TypeVar("T", bound=Shaped)


class Buckets(Generic[T]):
    """A queue that gives batches of one shape."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._buckets: dict[tuple[int, int], deque[tuple[float, T]]] = {}
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Adds an item."""
        with self._changed:
            self._buckets.setdefault(item.shape, deque()).append((time.monotonic(), item))
            self._changed.notify()

    def close(self) -> None:
        """Says that no more items will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drop(self, unwanted: Callable[[T], bool]) -> None:
        """Removes the items that are `unwanted`."""
        with self._changed:
            for shape, bucket in list(self._buckets.items()):
                kept = deque(entry for entry in bucket if not unwanted(entry[1]))
                self._buckets[shape] = kept
                if not kept:
                    del self._buckets[shape]

    def take(self, batch: int) -> list[T]:
        """Items of one shape, `batch` at most: those of the fullest bucket; of equally full ones, or where an item has
        waited too long, those that have waited longest. Waits if there is none; empty once the queue is closed and used
        up.

        It never waits for a batch to fill: an engine that asks is idle, and while it is busy the next batch grows by
        itself.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._buckets or self._closed)
            return self._take(batch)

    def take_full(self, batch: int) -> list[T]:
        """As `take`, but only a whole batch, or one with an item that has waited too long; else nothing, and at once.
        For an engine that is at another batch."""
        with self._changed:
            if any(len(bucket) >= batch for bucket in self._buckets.values()) or self._late():
                return self._take(batch)
            return []

    def _late(self) -> bool:
        return any(time.monotonic() - bucket[0][0] > self._patience for bucket in self._buckets.values())

    def _take(self, batch: int) -> list[T]:
        if not self._buckets:
            return []
        late = self._late()

        def rank(shape: tuple[int, int]) -> tuple[int, float]:
            bucket = self._buckets[shape]
            return (0 if late else -min(len(bucket), batch)), bucket[0][0]

        shape = min(self._buckets, key=rank)
        bucket = self._buckets[shape]
        taken = [bucket.popleft()[1] for _ in range(min(batch, len(bucket)))]
        if not bucket:
            del self._buckets[shape]
        return taken
