"""Pictures: crops and photos made small, each decoded within limits, in a process that it may crash."""

from __future__ import annotations

import functools

from zipcrop.image import opencv
from zipcrop.process.isolation import Isolation

_MOST_PROCESSES = 8
"""More would wait for the process that puts their pictures together."""


class Pictures(Isolation):
    """Processes that decode crops and photos, for `thumbnail.of_files`. They start with the first picture."""

    def __init__(self, threads: int, seconds: float, megapixels: float) -> None:
        """Uses up to `threads` processes. A picture that takes more than `seconds`, or has more than `megapixels`,
        cannot be shown."""
        super().__init__(min(threads, _MOST_PROCESSES), seconds, functools.partial(opencv.prepare, megapixels))
        self.megapixels = megapixels
