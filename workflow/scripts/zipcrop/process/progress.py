"""Progress of a job: lines on the terminal and in the log."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from zipcrop.terminal import printable

_INTERVAL = 5.0
_STOPPED = "stopped: "
_TIME = "%Y-%m-%d %H:%M:%S"
_TIME_PATTERN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


class Progress:
    """Says how far an archive is: members done of all, images per second, time left.

    Each message becomes one line, whatever names and decoders' messages are in it (see `terminal.printable`).
    """

    def __init__(self, archive: str, log: Path, terminal: TextIO | None = None) -> None:
        """`log` is begun anew."""
        self._archive = printable(archive)
        self._terminal = terminal or sys.stderr
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        # Opened to append, since workers write to it, too.
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._started = self._shown = time.monotonic()
        self._total = self._done = self._before = self._images = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self.log(f"{_STOPPED}{error or type(error).__name__}")
        with contextlib.suppress(OSError):
            self._log.close()

    def start(self, total: int, done: int) -> None:
        """Begins the count: there are `total` members, and `done` of them are done already."""
        self._total, self._done, self._before = total, done, done
        self._started = self._shown = time.monotonic()

    def step(self, is_image: bool) -> None:
        """Counts a member that is done, and shows the state every few seconds."""
        self._done += 1
        self._images += is_image
        if time.monotonic() - self._shown >= _INTERVAL:
            self._shown = time.monotonic()
            self.say(self.state())

    def state(self) -> str:
        """The state, such as `1200/5000 members, 10.4 images/s, 6 min left`."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        left = (self._total - self._done) * seconds / max(self._done - self._before, 1)
        return f"{self._done}/{self._total} members, {self._images / seconds:.1f} images/s, {in_words(left)} left"

    def say(self, message: str) -> None:
        """Writes a line to the terminal and to the log."""
        try:
            print(f"{self._archive}: {printable(message)}", file=self._terminal, flush=True)
        except OSError:  # the terminal or the pipe's reader is gone, which is no reason to stop
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._terminal.fileno())
        self.log(message)

    def log(self, message: str) -> None:
        """Writes a line to the log alone."""
        # A full disk is reported where results are written.
        with contextlib.suppress(OSError):
            self._log.write(f"{time.strftime(_TIME)} {self._archive}: {printable(message)}\n")


def last_words(log: Path, archive: str) -> str:
    """The reason that the job of `archive` gave in its log for stopping; empty where there is none. Members' names and
    decoders' messages, which are in the log, too, are not taken for it."""
    try:
        lines = log.read_bytes().decode("utf-8", "replace").split("\n")  # only this ends a line of Progress
    except OSError:
        return ""
    stopped = re.compile(f"{_TIME_PATTERN} {re.escape(f'{printable(archive)}: {_STOPPED}')}(.*)", re.ASCII)
    return next((found[1] for line in reversed(lines) if (found := stopped.fullmatch(line))), "")


def in_words(seconds: float) -> str:
    """A duration in words: `40 s`, `6 min`, `2 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
