"""What exports for other tools are made of: photos and their people, read from the manifests one photo at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from zipcrop import files
from zipcrop.errors import ResultsError
from zipcrop.results import manifest

EXPORTS_VERSION = 1
"""Raised by hand whenever the same results would be exported in another way, so that a new release does it anew."""


class Detection(NamedTuple):  # there are as many as crops, and a tuple is made fastest
    """A person that has a crop: the box in pixels of the upright photo, clipped to it, and the confidence."""

    x1: float
    y1: float
    x2: float
    y2: float
    confidence: float


@dataclass(slots=True)
class ManifestEntry:
    """A member, as its manifest's rows describe it."""

    member: str
    index: int
    status: str
    reason: str
    width: int
    """Of the upright photo, pixels; 0 where it never decoded. So is `height`."""
    height: int
    people: list[Detection] = field(default_factory=list)
    """One per crop, by falling confidence; not the boxes of a rejected person, and of the one that came nearest in a
    photo without people."""


@dataclass(frozen=True)
class Counts:
    """What an export holds."""

    photos: int
    people: int


def archives(output: Path) -> dict[str, str]:
    """The archives of `summary.csv` in the folder `output`: id to path, in its order."""
    with (output / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["archive"]: row["zip"] for row in csv.DictReader(file)}


def entries(output: Path, archive: str) -> Iterator[ManifestEntry]:
    """The members of `archive` in the order of its manifest, which is below the folder `output`; none if it failed.

    Raises ResultsError if it is no manifest, OSError.
    """
    path = manifest.path(output, archive)
    try:
        yield from _entries(path)
    except (csv.Error, ValueError, LookupError):
        # The summary leaves such archives out, so this one has been changed since.
        raise ResultsError(archive, f"{path} is no manifest") from None


def _entries(path: Path) -> Iterator[ManifestEntry]:
    with files.open_regular(path, "r") as file:
        rows = csv.reader(file)
        place = {column: number for number, column in enumerate(next(rows, ()))}
        columns = ("member", "member_index", "status", "reason", "width", "height")
        of_member = itemgetter(*(place[column] for column in columns))
        of_person = itemgetter(*(place[column] for column in Detection._fields))
        for _, group in groupby(rows, key=itemgetter(place["member_index"])):
            first = next(group)
            member, index, status, reason, width, height = of_member(first)
            if index == "-1":
                return
            entry = ManifestEntry(member, int(index), status, reason, int(width or 0), int(height or 0))
            if status == "person":
                entry.people = [Detection(*map(float, of_person(row))) for row in (first, *group)]
            yield entry
