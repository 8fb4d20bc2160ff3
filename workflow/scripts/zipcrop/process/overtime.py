"""Overtime: what the photos of an archive take together that declare far more than their bytes would let one expect.

Each keeps to limits.seconds, but a few bytes can hold thousands of them. The processes of an archive note what they
spend in memory that they share, each in a place of its own, so that what one has spent outlives it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, MutableSequence

_MOST_PER_BYTE = 500
"""Pixels, or bytes, for each byte in the archive. Photos have about 5, pages and screens with any text on them up to
250 (fax, zipped). Blank ones have thousands, but are decoded in one or two tenths of a second."""
_FREE = 0.25
"""Seconds that any photo may take: ten thousand blank forms are no attack."""
_TIMES = 5
"""How many times limits.seconds they may take together."""


class OutOfTime(Exception):
    """There is no time left for a photo; the message is the reason, in words."""


def is_far_more(declared: int, compressed: int) -> bool:
    """Whether `declared` pixels, or bytes, are far more than one finds in `compressed` bytes of an archive."""
    return declared > _MOST_PER_BYTE * compressed


def numbers(processes: int) -> int:
    """How many numbers the account of as many `processes` has."""
    return 2 * processes


class Overtime:
    """A process's view of the account."""

    def __init__(self, account: MutableSequence[float], place: int, limit: float) -> None:
        """On `account`, a shared array of as many floats as `numbers` says, all 0 at first, of which this process alone
        writes those of its `place`, counted from 0, until it has died. `limit` is limits.seconds."""
        self._account = account
        self._processes = len(account) // 2
        self._place = place
        self._most = _TIMES * limit
        self._writing = threading.Lock()

    def taken(self) -> float:
        """What all processes have spent, in seconds of a thread."""
        return sum(self._account[: self._processes])

    def check(self, far_more: bool) -> None:
        """Raises OutOfTime for a photo that declares `far_more`, if there is no time left for such ones."""
        if far_more and self.taken() >= self._most:
            raise OutOfTime(
                "is not decoded: it declares far more than its bytes hold, and all such members of an archive together "
                f"may take {self._most:g} s ({_TIMES} times limits.seconds)"
            )

    @contextlib.contextmanager
    def spent(self, far_more: bool) -> Iterator[None]:
        """Adds the time for which it is entered, of the thread's own work, if it goes to a photo that declares
        `far_more`."""
        if not far_more:
            yield
            return
        started = time.thread_time()
        self._note(0, at_work=1)
        try:
            yield
        finally:
            self._note(max(0.0, time.thread_time() - started - _FREE), at_work=-1)

    def settle(self, seconds: float) -> None:
        """For a process that has died: adds `seconds`, for which it was at a member, if it was at such a photo."""
        if self._account[self._processes + self._place]:
            self._account[self._place] += seconds
            self._account[self._processes + self._place] = 0

    def _note(self, seconds: float, at_work: int) -> None:
        with self._writing:
            self._account[self._place] += seconds
            self._account[self._processes + self._place] += at_work
