"""The manifest: what became of every member of an archive, as CSV (RFC 4180, UTF-8). Its one writer, and its one reader
row by row; `tables` reads the same columns as a table.

A new column is a field of `Row`; `rows` fills it in, `members` or `tables` reads it.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from zipcrop import files
from zipcrop.errors import ResultsError
from zipcrop.results import layout

if TYPE_CHECKING:
    from zipcrop.archive.reader import Member

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright photo."""
Status = Literal["person", "no_person", "rejected", "failed", "skipped"]
STATUSES: tuple[Status, ...] = get_args(Status)
PHOTOS: tuple[Status, ...] = ("person", "no_person", "rejected")
"""The statuses of members that decoded."""


class Row(NamedTuple):
    """A row of a manifest: its fields are the columns, in their order. None and an empty text are written alike."""

    archive: str
    member: str = ""
    member_index: int = -1
    crc32: str = ""
    bytes: int | None = None
    status: str = ""
    reason: str = ""
    width: int | None = None
    height: int | None = None
    person: int | None = None
    confidence: float | None = None
    x1: float | None = None
    y1: float | None = None
    x2: float | None = None
    y2: float | None = None
    file: str = ""


COLUMNS = list(Row._fields)
HEADER = (",".join(COLUMNS) + "\r\n").encode()
"""The first line of every manifest."""
SIZE = ("width", "height")
BOX = ("x1", "y1", "x2", "y2")


def read_record(output: Path, archive: str) -> dict[str, Any]:
    """The record of an archive's job (fingerprint, weights, settings, seconds), from the JSON beside its manifest.
    Raises OSError, or ValueError where the file holds no record."""
    with files.open_regular(layout.record(output, archive), "r") as file:
        record: dict[str, Any] = json.load(file)
    if not isinstance(record, dict):
        raise ValueError(f"{layout.record(output, archive)} holds no record")
    return record


class Content(NamedTuple):  # there are as many as files
    """What was written to a file."""

    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""

    @classmethod
    def of(cls, data: bytes) -> Content:
        """The size and the hash of `data`."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(slots=True)  # frozen, it would take twice as long to make, and there are as many as crops
class Person:
    """A person that was found."""

    box: Box
    """Clipped to the upright photo, before padding."""
    confidence: float
    file: str = ""
    """The crop's path below the output folder, with `/`; empty where no crop was written."""


@dataclass(slots=True)  # not frozen either: there are as many as members
class Outcome:
    """What became of a member."""

    index: int
    status: Status
    reason: str = ""
    width: int | None = None
    height: int | None = None
    persons: tuple[Person, ...] = ()
    """One for each crop, by falling confidence. If `rejected`, the most confident one alone. If `no_person`, the best
    one below the threshold, if the detector gave any."""
    file: str = ""
    """If `no_person`, the original's path below the output folder, with `/`."""
    contents: tuple[Content, ...] = ()
    """The content of each of `files()`, in their order; the manifest does not have it."""
    again: bool = False
    """Whether an interrupted job tries the member again rather than believe the journal: reading it failed, or its
    process was killed."""

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Outcome:
        """The inverse of `to_json`."""
        persons = tuple(Person(tuple(p["box"]), p["confidence"], p["file"]) for p in value["persons"])
        contents = tuple(Content(*each) for each in value["contents"])
        return cls(**{**value, "persons": persons, "contents": contents})

    def cropped(self) -> tuple[Person, ...]:
        """The persons that have a crop."""
        return self.persons if self.status == "person" else ()

    def files(self) -> list[str]:
        """Everything that was written for the member, as paths below the output folder."""
        return [file for file in (self.file, *(person.file for person in self.persons)) if file]


def failed_archive_rows(archive: str, reason: str) -> list[Row]:
    """The one row of an archive that cannot be opened."""
    return [Row(archive, status="failed", reason=reason)]


def rows(archive: str, member: Member, outcome: Outcome) -> Iterator[Row]:
    """The member's rows: one per crop, or one if it has none."""
    row = Row(
        archive,
        member.name,
        member.index,
        f"{member.crc32:08x}",
        member.size,
        outcome.status,
        outcome.reason,
        outcome.width,
        outcome.height,
        file=outcome.file,
    )
    if not outcome.persons:
        yield row
    for k, person in enumerate(outcome.persons):
        x1, y1, x2, y2 = person.box
        yield row._replace(
            person=k if outcome.status == "person" else None,
            confidence=person.confidence,
            x1=x1,
            y1=y1,
            x2=x2,
            y2=y2,
            file=person.file or outcome.file,
        )


def write(target: Path, manifest_rows: Iterable[Row]) -> None:
    """Writes a manifest of `manifest_rows` in their order to `target`, and to the disk before it returns."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(manifest_rows)
    files.flush(target)


def members(output: Path, archive: str) -> Iterator[tuple[str, Outcome]]:
    """The members of `archive` in the order of its manifest, which is below the folder `output`: the name of each, and
    what became of it. There are none in an archive that could not be opened.

    Holds one member at a time. Raises ResultsError if there is no manifest in the file, OSError.
    """
    try:
        yield from _members(output, archive)
    except (csv.Error, ValueError, LookupError):
        # The summary leaves such archives out, so the file has been changed since.
        raise ResultsError(archive, f"{layout.manifest(output, archive)} is no manifest") from None


def _members(output: Path, archive: str) -> Iterator[tuple[str, Outcome]]:
    columns = ("member", "member_index", "status", "reason", *SIZE, "confidence", *BOX, "file")
    for index, group in groupby(_texts(output, archive, *columns), key=itemgetter(1)):
        if index == "-1":
            return
        texts = list(group)
        name, _, status, reason, width, height, *_, file = texts[0]
        has_crops = status == "person"
        persons = [
            Person((float(x1), float(y1), float(x2), float(y2)), float(confidence), crop if has_crops else "")
            for _, _, _, _, _, _, confidence, x1, y1, x2, y2, crop in texts
            if has_crops or confidence
        ]
        outcome = Outcome(int(index), status, reason, persons=tuple(persons), file="" if has_crops else file)
        if width or status in PHOTOS:
            outcome.width, outcome.height = int(width), int(height)
        yield name, outcome


def named_files(output: Path, archive: str) -> Iterator[str]:
    """The files that the manifest of `archive` names, as paths below the folder `output`, with `/`. Raises OSError;
    csv.Error, ValueError or LookupError if there is no manifest in the file."""
    return (file for file in _texts(output, archive, "file") if file)


def _texts(output: Path, archive: str, *columns: str) -> Iterator[Any]:
    """The texts in `columns`, row by row: a tuple, or a text if there is one column only."""
    with files.open_regular(layout.manifest(output, archive), "r") as file:
        lines = csv.reader(file)
        position = {column: number for number, column in enumerate(next(lines, ()))}
        if missing := set(columns) - position.keys():
            raise ValueError(f"there is no column {min(missing)}")
        yield from map(itemgetter(*(position[column] for column in columns)), lines)
