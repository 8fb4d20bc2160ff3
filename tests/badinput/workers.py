"""Workers of crop jobs that crash, hang, cannot write or read other bytes than there are.

In a module of their own, since every one that starts imports it: one that imports pytest takes far longer.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from helpers.photos import encoded
from zipcrop import files
from zipcrop.archive.source import LocalFile
from zipcrop.detect import engine
from zipcrop.image import codec
from zipcrop.job import entry
from zipcrop.process import overtime

if TYPE_CHECKING:
    from zipcrop.image.formats import Header

# -- Decoders and engines -------------------------------------------------------------------------------------------
DEADLY = encoded("empty", scale=0.2)
HANGING = encoded("empty", scale=0.3)
HUGE = encoded("empty", scale=0.4)


@functools.cache
def blank(grey: int) -> bytes:
    """A PNG of nine megapixels in nine kilobytes."""
    return cv2.imencode(".png", np.full((3000, 3000), grey, np.uint8))[1].tobytes()


HANGING_GREY = 100
"""The decoder hangs in a blank photo of this grey, too."""


really_decode = codec.decode


def decode(data: bytes, header: Header, reduction: int = 1) -> np.ndarray:
    if data == DEADLY:
        signal.raise_signal(signal.SIGSEGV)
    if data == HANGING or (data.startswith(b"\x89PNG") and data == blank(HANGING_GREY)):
        re.match("(a*)*b", "a" * 60)  # for ever, with Python's lock
    if data == HUGE:
        raise MemoryError
    return really_decode(data, header, reduction)


def worker_whose_decoder_crashes(connection: Connection, *arguments: Any) -> None:
    codec.decode = decode
    entry.main(connection, *arguments)


class EngineThatSeesNobody:
    concurrency = 1
    batch = 1

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        return [np.zeros((0, 5), np.float32)] * len(batch)


def worker_without_an_engine_whose_decoder_crashes(connection: Connection, *arguments: Any) -> None:
    """It starts in a fraction of the time."""
    engine.load = lambda *options: EngineThatSeesNobody()
    worker_whose_decoder_crashes(connection, *arguments)


def worker_whose_engine_crashes(connection: Connection, *arguments: Any) -> None:
    from zipcrop.detect.openvino import OpenVINOEngine

    def detect(self: OpenVINOEngine, batch: np.ndarray) -> list[np.ndarray]:
        signal.raise_signal(signal.SIGILL)
        raise AssertionError("survived it")

    OpenVINOEngine.detect = detect  # type: ignore[method-assign]
    entry.main(connection, *arguments)


def worker_for_which_no_time_is_free(connection: Connection, *arguments: Any) -> None:
    overtime._FREE = 0.0
    entry.main(connection, *arguments)


class EngineThatMustBeginAlone:
    concurrency = 4
    batch = 1
    calls = 0
    worked = False

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        self.calls += 1
        if not self.worked:
            if self.calls > 1:
                raise RuntimeError("used by two threads before it has worked")
            time.sleep(0.5)
            self.worked = True
        return [np.zeros((0, 5), np.float32)] * len(batch)


def worker_with_an_engine_that_must_begin_alone(connection: Connection, *arguments: Any) -> None:
    engine.load = lambda *options: EngineThatMustBeginAlone()
    entry.main(connection, *arguments)


# -- Faults of the machine --------------------------------------------------------------------------------------------
def failing(original: Callable[..., Any], number: int, after: int) -> Callable[..., Any]:
    """`original`, which raises an OSError from the call on that comes after `after` others."""
    calls = []

    def fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    return fails


def worker_that_cannot_write(connection: Connection, *arguments: Any) -> None:
    files.create = failing(files.create, int(os.environ["FAULT"]), 10)
    entry.main(connection, *arguments)


def worker_that_cannot_read(connection: Connection, *arguments: Any) -> None:
    LocalFile.read_at = failing(LocalFile.read_at, errno.EIO, 20)  # type: ignore[method-assign]
    entry.main(connection, *arguments)


def reads_once_otherwise(falsified: Callable[[LocalFile, bytes], bytes], photo: int) -> None:
    """From now on, read number `photo` of a photo's bytes is `falsified`; other reads wait meanwhile."""
    really_read = LocalFile.read_at
    photos = itertools.count(1)
    alone = threading.Lock()

    def read_at(self: LocalFile, length: int, offset: int) -> bytes:
        with alone:
            data = really_read(self, length, offset)
            return falsified(self, data) if data.startswith(b"\xff\xd8") and next(photos) == photo else data

    LocalFile.read_at = read_at  # type: ignore[method-assign]


def worker_that_once_reads_zeros(connection: Connection, *arguments: Any) -> None:
    reads_once_otherwise(lambda reader, data: bytes(len(data)), 7)
    entry.main(connection, *arguments)


def worker_that_once_reads_nothing(connection: Connection, *arguments: Any) -> None:
    reads_once_otherwise(lambda reader, data: b"", 7)
    entry.main(connection, *arguments)


def worker_that_reads_while_somebody_copies(connection: Connection, *arguments: Any) -> None:
    """Somebody copies the archive over itself, so that for a moment it is all zeros."""

    def falsified(reader: LocalFile, data: bytes) -> bytes:
        path = Path(os.environ["ZIP"])
        content = path.read_bytes()
        path.write_bytes(bytes(len(content)))
        zeros = os.pread(reader._file.fileno(), len(data), 0)
        path.write_bytes(content)
        return zeros

    reads_once_otherwise(falsified, 7)
    entry.main(connection, *arguments)


def worker_that_once_reads_another_directory(connection: Connection, *arguments: Any) -> None:
    LocalFile.read_at = once_zeros(LocalFile.read_at)  # type: ignore[method-assign]
    entry.main(connection, *arguments)


def once_zeros(original: Callable[..., bytes]) -> Callable[..., bytes]:
    """`original`, which gives zeros the first time."""
    first = [True]

    def read_at(*arguments: Any) -> bytes:
        data = original(*arguments)
        return bytes(len(data)) if first and first.pop() else data

    return read_at


# -- Reads ----------------------------------------------------------------------------------------------------------
FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "less": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "other bytes": lambda data: bytes(byte ^ 0xFF for byte in data),
}
"""The bytes that a read gives instead of those that are there."""


class Disturbed:
    """`os.pread`, whose read number `at`, from 1, goes wrong."""

    def __init__(self, fault: str, at: int, note: Path) -> None:
        """Creates the file `note` as soon as it happens."""
        self._fault, self._at, self._note = fault, at, note
        self._reads = itertools.count(1)
        self._pread = os.pread

    def __call__(self, descriptor: int, length: int, offset: int) -> bytes:
        data = self._pread(descriptor, length, offset)
        if next(self._reads) != self._at:
            return data
        self._note.touch()
        if self._fault == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return FAULTS[self._fault](data)


def worker_without_an_engine(connection: Connection, *arguments: Any) -> None:
    """Where `FAULT_AT` is set, the read of that number goes wrong in it."""
    engine.load = lambda *options: EngineThatSeesNobody()
    if at := os.environ.get("FAULT_AT"):
        os.pread = Disturbed(os.environ["FAULT"], int(at), Path(os.environ["STRUCK"]))
    entry.main(connection, *arguments)
