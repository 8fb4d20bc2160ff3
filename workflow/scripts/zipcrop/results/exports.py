"""What the exports for other tools, `coco` and `yolo`, have in common."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from zipcrop.results import layout

EXPORTS_VERSION = 1
"""Raised by hand whenever the same results would be exported in another way, so that a new release does it anew."""


@dataclass(frozen=True)
class Counts:
    """What an export holds."""

    photos: int
    people: int


def archives(output: Path) -> dict[str, str]:
    """The archives of `summary.csv` in the folder `output`: name to path, in its order."""
    with layout.summary(output).open(encoding="utf-8", newline="") as file:
        return {row["archive"]: row["zip"] for row in csv.DictReader(file)}
