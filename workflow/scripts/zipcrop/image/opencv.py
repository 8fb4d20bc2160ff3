"""Settings of OpenCV and NumPy, to be made before a process imports either."""

from __future__ import annotations

import os


def limit(megapixels: float) -> None:
    """Makes OpenCV refuse images of more than `megapixels`: a guard against bombs of formats whose size is not known
    before.
    """
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(int(megapixels * 1e6))


def restrict_openblas() -> None:
    """Keeps NumPy's OpenBLAS from starting a thread per core. They would spin while NumPy is imported, for nothing in
    processes that multiply no matrices with it.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def prepare(megapixels: float) -> None:
    """Imports OpenCV into a process that only decodes images of up to `megapixels`, on one thread, since the processes
    are parallelism enough.
    """
    limit(megapixels)
    restrict_openblas()
    import cv2

    cv2.setNumThreads(1)
