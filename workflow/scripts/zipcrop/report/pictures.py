"""Pictures: crops and photos made small, each decoded within limits, in a process that it may crash."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop.image import opencv
from zipcrop.process.isolation import Isolation

if TYPE_CHECKING:
    import numpy as np

_MOST_PROCESSES = 8
"""More would wait for the process that puts their pictures together."""


class Pictures(Isolation):
    """Crops and photos, decoded in processes that start with the first picture."""

    def __init__(self, threads: int, seconds: float, megapixels: float) -> None:
        """Uses up to `threads` processes. A picture that takes more than `seconds`, or has more than `megapixels`,
        cannot be shown."""
        super().__init__(min(threads, _MOST_PROCESSES), seconds, functools.partial(opencv.prepare, megapixels))
        self._megapixels = megapixels

    def thumbnails(self, paths: Iterable[Path], width: int, height: int) -> Iterator[np.ndarray | None]:
        """The result of `thumbnail.of_file` for each of `paths`; None for those that cannot be shown."""
        from zipcrop.report import thumbnail  # here, since the processes can start while OpenCV is imported

        load = functools.partial(thumbnail.of_file, width=width, height=height, megapixels=self._megapixels)
        return self.map(load, paths)
