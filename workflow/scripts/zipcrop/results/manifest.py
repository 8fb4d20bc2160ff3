"""The manifest: what became of every member of an archive, as CSV (RFC 4180, UTF-8)."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from zipcrop import files
from zipcrop.archive.reader import Member
from zipcrop.results import layout

Status = Literal["person", "no_person", "rejected", "failed", "skipped"]

COLUMNS = [
    "archive",
    "member",
    "member_index",
    "crc32",
    "bytes",
    "status",
    "reason",
    "width",
    "height",
    "person",
    "confidence",
    "x1",
    "y1",
    "x2",
    "y2",
    "file",
]


def path(output: Path, archive: str) -> Path:
    """The manifest of an archive, below the folder `output`."""
    return layout.manifest(output, archive)


def record_path(output: Path, archive: str) -> Path:
    """The record of an archive's job (archive, fingerprint, weights, settings, seconds; JSON), beside its manifest."""
    return layout.record(output, archive)


def read_record(output: Path, archive: str) -> dict[str, Any]:
    """What `record_path` holds. Raises OSError, or ValueError where it holds no record."""
    with files.open_regular(record_path(output, archive), "r") as file:
        record: dict[str, Any] = json.load(file)
    if not isinstance(record, dict):
        raise ValueError(f"{record_path(output, archive)} holds no record")
    return record


class Content(NamedTuple):  # there are as many as files
    """What was written to a file."""

    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""

    @classmethod
    def of(cls, data: bytes) -> Content:
        """That of `data`."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)  # there are as many as members
class Person:
    """A person that was found."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the upright image, clipped to it, before padding."""
    confidence: float
    file: str = ""
    """The crop's path below the output folder, with `/`; empty where no crop was written."""


@dataclass(frozen=True, slots=True)  # there are as many as members
class Outcome:
    """What became of a member."""

    index: int
    status: Status
    reason: str = ""
    width: int | None = None
    height: int | None = None
    persons: tuple[Person, ...] = ()
    """One for each crop, by falling confidence; the most confident one alone if `rejected`; if `no_person`, the best
    one below the threshold, if any was looked at."""
    file: str = ""
    """Of `no_person`: the original's path below the output folder, with `/`."""
    contents: tuple[Content, ...] = ()
    """Of each of `files()`, in their order."""
    again: bool = False
    """Whether an interrupted job tries it again rather than believe the journal: reading it failed, or its process was
    killed."""

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Outcome:
        """The inverse of `to_json`."""
        persons = tuple(Person(tuple(p["box"]), p["confidence"], p["file"]) for p in value["persons"])
        contents = tuple(Content(*each) for each in value["contents"])
        return cls(**{**value, "persons": persons, "contents": contents})

    def files(self) -> list[str]:
        """Everything that was written for it, as paths below the output folder."""
        return [file for file in (self.file, *(person.file for person in self.persons)) if file]


def failed_archive_rows(archive: str, reason: str) -> list[dict[str, Any]]:
    """The one row of an archive that cannot be opened."""
    return [{"archive": archive, "member": "", "member_index": -1, "status": "failed", "reason": reason}]


def rows(archive: str, member: Member, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """The member's rows: one per crop, or one if it has none."""
    row: dict[str, Any] = {
        "archive": archive,
        "member": member.name,
        "member_index": member.index,
        "crc32": f"{member.crc32:08x}",
        "bytes": member.size,
        "status": outcome.status,
        "reason": outcome.reason,
        "width": outcome.width,
        "height": outcome.height,
    }
    if not outcome.persons:
        yield {**row, "file": outcome.file}
    for k, person in enumerate(outcome.persons):
        box = dict(zip(("x1", "y1", "x2", "y2"), person.box, strict=True))
        number = k if outcome.status == "person" else None
        yield {**row, "person": number, "confidence": person.confidence, **box, "file": person.file or outcome.file}


def read(output: Path, archive: str) -> Iterator[dict[str, str]]:
    """The rows of the archive's manifest below the folder `output`, as text."""
    with files.open_regular(path(output, archive), "r") as file:
        yield from csv.DictReader(file)


def write(target: Path, manifest_rows: Iterable[dict[str, Any]]) -> None:
    """Writes a manifest of `manifest_rows` in their order, and has it on the disk before it returns."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(manifest_rows)
    files.flush(target)
