"""Orphans: processes that have lost their parent end, since results that nobody waits for would get in the way of the
next run."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PF_EXITING = 0x4  # linux/sched.h


@dataclass(frozen=True)
class ProcessId:
    """A process, told apart from a later one that gets its number. On Linux only."""

    pid: int
    started: int
    """When it was started, in clock ticks since the machine was."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has the number `pid` now; None if there is none, or if it is ending, or has ended and nobody
        has asked for its exit status yet."""
        try:
            # Behind the program's name, which may hold anything: the state, the flags as the sixth field after it, and
            # the start as the nineteenth (proc(5)).
            state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        return None if state in "ZX" or int(fields[5]) & _PF_EXITING else cls(pid, int(fields[18]))

    @classmethod
    def parse(cls, text: str) -> ProcessId | None:
        """The process that `str` has written as `text`; None if that is something else."""
        found = re.fullmatch(r"(\d+)-(\d+)", text, re.ASCII)
        return cls(int(found[1]), int(found[2])) if found else None

    def __str__(self) -> str:
        return f"{self.pid}-{self.started}"

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return ProcessId.of(self.pid) == self


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
