"""Runs a command and measures it with all its descendants."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL = 0.25
_UNUSUAL = {"PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS"}
"""Variables that a command does not get. Compiled Python is kept, as it is by default, so that importing is not most of
what is measured. ultralytics sets the number of threads wherever it is imported, and so in the benchmark itself."""


@dataclass(frozen=True)
class Usage:
    """The resources that a command took."""

    seconds: float
    """Wall time."""
    cpu_seconds: float
    """User and system time of the command and of all descendants that it waited for."""
    peak_bytes: int
    """Peak of the proportional set sizes (PSS) of the whole tree, sampled every 0.25 s."""
    output: str
    """The text that it wrote to stdout."""


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    others: Callable[[], Iterable[psutil.Process]] = tuple,
) -> Usage:
    """Runs `command` to its end, with `environment` on top of this process's. Processes that `others` gives count, too,
    though they are no descendants. Raises CalledProcessError if it fails."""
    usual = {name: value for name, value in os.environ.items() if name not in _UNUSUAL}
    before = _cpu_seconds(others())
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**usual, **(environment or {})},
    )
    peak = [0]
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(psutil.Process(process.pid), others, peak, ended))
    sampler.start()
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    # wait4 rather than Popen.wait: the resource usage comes with it.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    after = _cpu_seconds(others())
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    sampler.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [str(part) for part in command], output)
    return Usage(seconds, usage.ru_utime + usage.ru_stime + after - before, peak[0], output)


def _cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has just ended
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _sample(
    root: psutil.Process, others: Callable[[], Iterable[psutil.Process]], peak: list[int], ended: threading.Event
) -> None:
    while not ended.wait(_INTERVAL):
        total = 0
        try:
            tree = [root, *root.children(recursive=True), *others()]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:  # it has just ended
                continue
        peak[0] = max(peak[0], total)
