"""Groups of threads that do the same work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread


def start(work: Callable[[], None], count: int) -> list[Thread]:
    """As many as `count` threads, each of which does `work`. They do not keep the process alive."""
    threads = [Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def finish(threads: Sequence[Thread], wake: Callable[[], None] = lambda: None) -> None:
    """Calls `wake` once for each of `threads`, then waits until all have ended."""
    for _ in threads:
        wake()
    for thread in threads:
        thread.join()
