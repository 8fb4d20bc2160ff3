"""Decoding and letterboxing alone, on all cores: no engine, however fast, gets its photos sooner.

usage: decoding.py IMAGE_SIZE CORES ZIP [ZIP ...]

The limit is the best of several ways: one process with a thread per core, a process per core, and four processes that
share the cores; each with memory that goes back to the kernel after each photo, as is glibc's way, and that stays. The
letterboxes are written into memory that was allocated once. Prints JSON, a line for each way, and last the seconds of
the fastest.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import resource
import sys
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from zipcrop.detect.letterbox import Letterbox
from zipcrop.image import codec, formats
from zipcrop.process import memory

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

_STRIDE = 32
_PATIENCE = 300.0
"""Seconds within which all processes must have read their files."""


@dataclass(frozen=True)
class Way:
    """How the work is spread."""

    processes: int
    threads: int
    """Of each process."""
    keeps_memory: bool

    def __str__(self) -> str:
        memory = "kept" if self.keeps_memory else "given back"
        return f"{self.processes} x {self.threads}, freed memory {memory}"


@dataclass(frozen=True)
class Measured:
    """What it took."""

    way: Way
    photos: int
    seconds: float
    cpu_seconds: float
    page_faults: int

    @property
    def rate(self) -> float:
        """Photos per second."""
        return self.photos / self.seconds


def ways(cores: int) -> list[Way]:
    """The ways to try on so many cores."""
    spread = {(1, cores), (cores, 1), *({(4, cores // 4)} if cores >= 8 else ())}
    return [Way(processes, threads, keeps) for processes, threads in sorted(spread) for keeps in (False, True)]


def measure(way: Way, image_size: int, archives: Sequence[Path]) -> Measured:
    """Decodes and letterboxes all photos in `archives`, which have been read before. Raises RuntimeError if a process
    fails."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(way.processes), context.SimpleQueue()
    names = [str(path) for path in archives]
    processes = [
        context.Process(target=_share, args=(way, number, image_size, names, barrier, results), daemon=True)
        for number in range(way.processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"decoding failed with {way}")
    shares = [results.get() for _ in processes]
    seconds = max(share[1] for share in shares) - min(share[0] for share in shares)
    photos, cpu_seconds, faults = (sum(share[field] for share in shares) for field in (2, 3, 4))
    return Measured(way, int(photos), seconds, cpu_seconds, int(faults))


def _share(
    way: Way,
    number: int,
    image_size: int,
    archives: Sequence[str],
    barrier: Barrier,
    results: SimpleQueue[tuple[float, float, int, float, int]],
) -> None:
    """A process's share of `measure`: sends when it began and ended, its photos, CPU seconds and page faults."""
    if way.keeps_memory:
        memory.keep_freed_memory()
    cv2.setNumThreads(1)
    files = []
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            names = archive.infolist()[number :: way.processes]
            files += [archive.read(name) for name in names]
    letterboxes = [np.zeros(image_size**2 * 3, np.uint8) for _ in range(way.threads)]
    todo = iter(files)

    def work(letterboxed: np.ndarray) -> None:
        for data in todo:  # a list's iterator is safe to share: it is advanced under Python's lock
            prepare(data, image_size, letterboxed)

    with ThreadPoolExecutor(way.threads) as executor:
        for data in files[:1]:
            prepare(data, image_size, letterboxes[0])
        barrier.wait(_PATIENCE)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in executor.map(work, letterboxes):
            pass
        ended = time.perf_counter()  # the same clock in all processes
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    results.put((started, ended, len(files), cpu_seconds, after.ru_minflt - before.ru_minflt))


def prepare(data: bytes, image_size: int, out: np.ndarray) -> None:
    """Decodes a photo, and letterboxes it into the flat memory `out`."""
    photo = codec.decode(data, formats.identify("", data))
    letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], image_size, _STRIDE)
    height, width = letterbox.shape
    letterbox.apply(photo, out[: height * width * 3].reshape(height, width, 3))


def main() -> None:
    image_size, cores, *archives = sys.argv[1:]
    found = [measure(way, int(image_size), [Path(path) for path in archives]) for way in ways(int(cores))]
    for each in found:
        print(json.dumps({**dataclasses.asdict(each), "way": str(each.way), "photos/s": round(each.rate, 1)}))
    best = max(found, key=lambda each: each.rate)
    print(best.seconds)


if __name__ == "__main__":
    main()
