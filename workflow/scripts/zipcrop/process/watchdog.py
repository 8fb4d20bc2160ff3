"""The watchdog: what the threads of a worker are at, and whether one of them hangs.

A decoder that hangs may hold Python's lock, so that its process can say nothing. The threads therefore write what they
are at into memory that the pool sees, too.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Iterator, Sequence


class Board:
    """A worker's view of the memory: whole numbers, each 0 or what one thread is at."""

    def __init__(self, places: Sequence[int]) -> None:
        """On `places`, a shared array of signed integers, all 0, one for each thread that may be busy at once."""
        self._places = places
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(len(places)):
            self._free.put(place)
        self._inferences = itertools.count(1)

    def member(self, index: int) -> contextlib.AbstractContextManager[None]:
        """While it is entered, the thread decodes or encodes the member at `index`."""
        return self._at(index + 1)

    def inference(self) -> contextlib.AbstractContextManager[None]:
        """While it is entered, the thread infers."""
        return self._at(-next(self._inferences))

    @contextlib.contextmanager
    def _at(self, what: int) -> Iterator[None]:
        place = self._free.get()
        self._places[place] = what  # type: ignore[index]
        try:
            yield
        finally:
            self._places[place] = 0  # type: ignore[index]
            self._free.put(place)


class Watchdog:
    """The pool's view of a worker's board."""

    def __init__(self, places: Sequence[int], seconds: float, inference_seconds: float) -> None:
        """`seconds` are the most that a member may be decoded or encoded, `inference_seconds` those for a batch."""
        self._places = places
        self._limits = (seconds, inference_seconds)
        self._seen = [0] * len(places)
        self._waited = [0.0] * len(places)

    def look(self, elapsed: float) -> None:
        """Looks at the board, `elapsed` seconds after the last time."""
        now = list(self._places)
        for place, (before, what) in enumerate(zip(self._seen, now, strict=True)):
            self._waited[place] = self._waited[place] + elapsed if what and what == before else 0.0
        self._seen = now

    def hanging(self) -> set[int]:
        """Indices of the members that the threads are at, if one of them takes too long; else none. A thread that hangs
        with Python's lock holds up the others, so that any of them may be the one."""
        if not any(what > 0 and waited >= self._limits[0] for what, waited in self._busy()):
            return set()
        return {what - 1 for what, _ in self._busy() if what > 0}

    def longest(self) -> float:
        """For how many seconds one of the threads has been at its member, of those that have been longest; at most the
        time that it may take."""
        return min(self._limits[0], max((waited for what, waited in self._busy() if what > 0), default=0.0))

    def inference_hangs(self) -> bool:
        """Whether the engine takes too long."""
        return any(what < 0 and waited >= self._limits[1] for what, waited in self._busy())

    def _busy(self) -> Iterator[tuple[int, float]]:
        return zip(self._seen, self._waited, strict=True)
