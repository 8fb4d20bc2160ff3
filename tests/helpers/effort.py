"""The effort that code makes, counted so that the speed of the machine does not matter."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def count_calls(function: Callable[[], object]) -> int:
    """How many functions are called, those in C included, until `function` returns."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@contextmanager
def time_limit(seconds: float = 60) -> Iterator[None]:
    """Fails if the block hangs: `seconds` should be far more than it takes on a slow and busy machine."""

    def stop(*_: object) -> None:
        raise AssertionError(f"takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
