"""The watchdog: it knows the work that each thread of a worker is at, and whether one of them hangs.

A decoder that hangs may hold Python's lock, so that its process cannot report it. The threads therefore write their
work into memory that the pool sees, too.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Iterator, MutableSequence, Sequence


class Board:
    """A worker's view of the shared memory: a number for each thread's work, 0 if it is idle."""

    def __init__(self, cells: MutableSequence[int]) -> None:
        """`cells` is a shared array of signed integers, all 0, one for each thread that may be busy at once."""
        self._cells = cells
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for cell in range(len(cells)):
            self._free.put(cell)
        self._inferences = itertools.count(1)

    def member(self, index: int) -> contextlib.AbstractContextManager[None]:
        """Within the `with` block, the thread decodes or encodes the member at `index`."""
        return self._at(index + 1)

    def inference(self) -> contextlib.AbstractContextManager[None]:
        """Within the `with` block, the thread infers."""
        return self._at(-next(self._inferences))

    @contextlib.contextmanager
    def _at(self, work: int) -> Iterator[None]:
        cell = self._free.get()
        self._cells[cell] = work
        try:
            yield
        finally:
            self._cells[cell] = 0
            self._free.put(cell)


class Watchdog:
    """The pool's view of a worker's board."""

    def __init__(self, cells: Sequence[int], seconds: float, inference_seconds: float) -> None:
        """A member may be decoded or encoded for `seconds`, a batch may take `inference_seconds`."""
        self._cells = cells
        self._limits = (seconds, inference_seconds)
        self._seen = [0] * len(cells)
        self._waited = [0.0] * len(cells)

    def look(self, elapsed: float) -> None:
        """Looks at the board, `elapsed` seconds after the last time."""
        now = list(self._cells)
        for cell, (before, work) in enumerate(zip(self._seen, now, strict=True)):
            self._waited[cell] = self._waited[cell] + elapsed if work and work == before else 0.0
        self._seen = now

    def hanging(self) -> set[int]:
        """Indices of the members that threads are at, if one of them takes too long; else none. A thread that hangs
        with Python's lock holds up the others, so that any of the members may be the guilty one."""
        if not any(work > 0 and waited >= self._limits[0] for work, waited in self._busy()):
            return set()
        return {work - 1 for work, _ in self._busy() if work > 0}

    def longest(self) -> float:
        """The seconds that a thread has been at its member, of the one that has been longest; at most the time that it
        may take."""
        return min(self._limits[0], max((waited for work, waited in self._busy() if work > 0), default=0.0))

    def inference_hangs(self) -> bool:
        """Whether the engine takes too long."""
        return any(work < 0 and waited >= self._limits[1] for work, waited in self._busy())

    def _busy(self) -> Iterator[tuple[int, float]]:
        return zip(self._seen, self._waited, strict=True)
