"""The check of the decoders: they must give pixels or a refusal, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.common import LIMITS, SECONDS, sentence
from zipcrop.image import codec, formats
from zipcrop.image.formats import ImageError

_LARGEST_CHILD = 9e8
"""Bytes. Most formats take a fraction; OpenJPEG takes 10 kB for each of up to 65535 tiles, however small."""


class Crashed(AssertionError):
    """A decoder crashed or hung."""


class Decoder:
    """A process of its own that decodes images, since a decoder may crash or hang."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None

    def check(self, data: bytes) -> str:
        """Decodes `data` and gives the outcome, for statistics.

        Fails if that crashes, hangs, takes much memory, raises an undocumented error, or gives no pixels.
        """
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_decode_what_comes, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            assert self._connection.poll(2 * SECONDS)
            assert self._connection.recv() == "ready"
        self._connection.send_bytes(data)
        if not self._connection.poll(SECONDS):
            self.__exit__()
            raise Crashed(f"not decoded within {SECONDS} s")
        try:
            outcome, error, peak = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.__exit__()
            if code == -signal.SIGSEGV and b"acTL" in data:
                return "image: crashes OpenCV, as is known (see images.apng_that_crashes_opencv)"
            raise Crashed(f"the decoder ended with status {code}") from None
        if peak > _LARGEST_CHILD:
            self.__exit__()
            raise Crashed(f"takes {peak / 1e6:.0f} MB")
        assert not error, error
        return f"image: {outcome}"


def _decode_what_comes(connection: Connection) -> None:
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(int(LIMITS.megapixels * 1e6))
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)  # decoders complain of each of thousands of images
    import cv2

    cv2.setNumThreads(1)
    connection.send("ready")
    while True:
        try:
            data = connection.recv_bytes()
        except EOFError:
            return
        try:
            outcome, error = _decode(data), ""
        except ImageError as refused:
            outcome, error = sentence(refused)[:60], ""
        except MemoryError:
            outcome, error = "MemoryError", ""
        except Exception:
            outcome, error = "", traceback.format_exc()
        connection.send((outcome, error, _peak_bytes()))


def _peak_bytes() -> int:
    """The peak of this process's memory. That of getrusage would begin with the parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _decode(data: bytes) -> str:
    """As a worker does it."""
    formats.begins_like_image(data)
    header = formats.identify("a.jpg", data)
    declared = header.size
    assert declared is None or min(declared) > 0, declared
    if declared and declared[0] * declared[1] > LIMITS.megapixels * 1e6:
        return "refused for its size"
    pixels = codec.decode(data, header)
    height, width, channels = pixels.shape
    assert pixels.dtype == np.uint8
    assert channels == 3
    assert min(height, width) > 0
    assert width * height <= LIMITS.megapixels * 1e6, f"declares {declared}, has {width}x{height}"
    if declared and sorted(declared) != sorted((width, height)):
        return f"{data[:4]!r} of another size than it declares"
    if header.can_reduce:
        for reduction in (2, 4, 8):
            reduced = codec.decode(data, header, reduction).shape
            assert reduced == (-(-height // reduction), -(-width // reduction), 3), (pixels.shape, reduction, reduced)
    return "decoded"
