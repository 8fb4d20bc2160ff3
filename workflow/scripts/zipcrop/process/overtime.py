"""Overtime: the time that an archive's bloated members take together. They declare far more than their bytes hold.

Each of them keeps to limits.seconds, but a few bytes can hold thousands. The processes of an archive note the time in
memory that they share, each in a cell of its own, so that the note outlives its process.
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
"""All of them together may take so many times limits.seconds."""


class OutOfTime(Exception):
    """There is no time left for a member; the message is the reason, in words."""


def is_far_more(declared: int, compressed: int) -> bool:
    """Whether `declared` pixels, or bytes, are far more than `compressed` bytes of an archive usually hold."""
    return declared > _MOST_PER_BYTE * compressed


def numbers(processes: int) -> int:
    """The length of the account of `processes` processes."""
    return 2 * processes


class Overtime:
    """A process's view of the account."""

    def __init__(self, account: MutableSequence[float], cell: int, limit: float) -> None:
        """`account` is a shared array of floats, as long as `numbers` says and all 0 at first. This process alone
        writes to its `cell`, counted from 0, until it has died. `limit` is limits.seconds."""
        self._account = account
        self._processes = len(account) // 2
        self._cell = cell
        self._most = _TIMES * limit
        self._writing = threading.Lock()

    def taken(self) -> float:
        """The time that all processes have spent, in seconds of a thread."""
        return sum(self._account[: self._processes])

    def check(self, far_more: bool) -> None:
        """Raises OutOfTime for a member that declares `far_more`, if there is no time left for such ones."""
        if far_more and self.taken() >= self._most:
            raise OutOfTime(
                "is not decoded: it declares far more than its bytes hold, and all such members of an archive together "
                f"may take {self._most:g} s ({_TIMES} times limits.seconds)"
            )

    @contextlib.contextmanager
    def spent(self, far_more: bool) -> Iterator[None]:
        """Adds the thread's own time within the `with` block, if that is for a member that declares `far_more`."""
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
        """For a process that has died: adds `seconds`, its time at its last member, if that was such a one."""
        if self._account[self._processes + self._cell]:
            self._account[self._cell] += seconds
            self._account[self._processes + self._cell] = 0

    def _note(self, seconds: float, at_work: int) -> None:
        with self._writing:
            self._account[self._cell] += seconds
            self._account[self._processes + self._cell] += at_work
