"""The work of isolated processes, in a module of its own: each imports it, and with pytest that takes far longer."""

from __future__ import annotations

import os
import re
import signal


def nothing() -> None:
    pass


def work(what: str) -> str:
    if what == "crash":
        signal.raise_signal(signal.SIGSEGV)
    if what == "exit":
        os._exit(0)
    if what == "hang":
        re.match("(a*)*b", "a" * 60)  # for ever, with Python's lock
    if what == "memory":
        raise MemoryError
    if what == "bug":
        raise KeyError(what)
    return f"{what} in {os.getpid()}"


def end_at_once(prepare: object) -> None:
    os._exit(1)


def environment(name: str) -> str | None:
    import cv2

    return os.environ.get(name) if cv2.getNumThreads() == 1 else None
