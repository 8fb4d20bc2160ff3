"""OpenCV and NumPy, as processes of ours use them. To be called before either is imported."""

from __future__ import annotations

import os


def limit(megapixels: float) -> None:
    """Has OpenCV decode no image of more than `megapixels`: its own guard against bombs, where Pillow does not know the
    format."""
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(int(megapixels * 1e6))


def restrict_openblas() -> None:
    """Keeps NumPy's OpenBLAS from starting a thread per core, which spin while NumPy is imported, for processes that
    multiply no matrices with it."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def prepare(megapixels: float) -> None:
    """For a process that does nothing but decode images of up to `megapixels`: imports OpenCV, on one thread, since the
    processes are parallelism enough."""
    limit(megapixels)
    restrict_openblas()
    import cv2

    cv2.setNumThreads(1)
