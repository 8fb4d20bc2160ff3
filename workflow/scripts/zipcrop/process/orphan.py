"""Orphans: processes that have lost their parent end, since results that nobody waits for would get in the way of the
next run."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

_INTERVAL = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Watches the parent from a thread, and ends this process as soon as the parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def die_with_parent() -> None:
    """Lets the kernel kill this process as soon as the thread that started it is gone, even if a decoder hangs and
    holds Python's lock. On Linux only: elsewhere nothing happens, and `end_with_parent` is all there is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # the parent ended before the kernel knew
        os._exit(1)
