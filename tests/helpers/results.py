"""Finished results made in code: manifests, records, crops, originals and the summary, as a run leaves them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from helpers.job import SETTINGS
from helpers.photos import encoded, photo
from helpers.project import WEIGHTS
from zipcrop import RESULTS_VERSION
from zipcrop.archive import source
from zipcrop.archive.reader import Member
from zipcrop.detect.model import sha256
from zipcrop.results import layout, manifest, summary
from zipcrop.results.manifest import Outcome, Person
from zipcrop.results.names import output_names

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
WIDTH, HEIGHT = 405, 540
SKIPPED = Outcome(0, "skipped", "not an image")
FAILED = Outcome(0, "failed", "is damaged: Bad CRC-32")
UGLY_NAMES = [
    "NA",
    'a "b", c.jpg',
    "two\nlines\r\n.jpg",
    "Größe 日本 😀.png",
    "..\\up.jpg",
    "a/b/x.jpg",
    " .jpg",
    "x.jpg",
]


@dataclass(frozen=True)
class Photo:
    """A member of an archive."""

    name: str
    outcome: Outcome
    """Its index does not matter, nor do files."""
    crc32: int | None = None
    """None: one that depends on the name."""
    size: int = 1000
    """Bytes."""


# -- Outcomes -------------------------------------------------------------------------------------------------------
def person(*boxes: Box, size: tuple[int, int] = (640, 480), scores: Sequence[float] = ()) -> Outcome:
    """A photo of the width and height `size` with persons at `boxes`."""
    scores = scores or [round(0.9 - 0.01 * k, 6) for k in range(len(boxes))]
    return Outcome(0, "person", "", *size, tuple(Person(box, score) for box, score in zip(boxes, scores, strict=True)))


def no_person(size: tuple[int, int] = (640, 480), best: float | None = 0.1, box: Box = (1.0, 2.0, 3.0, 4.0)) -> Outcome:
    """A photo without a person; its best score was `best`, at `box`."""
    return Outcome(0, "no_person", "", *size, () if best is None else (Person(box, best),))


def rejected(size: tuple[int, int] = (640, 480)) -> Outcome:
    """A photo whose persons are all too small."""
    return Outcome(0, "rejected", "no crop has 2 pixels on each side", *size, (Person((1.0, 2.0, 2.5, 4.0), 0.4),))


# -- Photos ---------------------------------------------------------------------------------------------------------
def people(name: str, *scores: float, boxes: Sequence[Box] = (), crc32: int | None = None) -> Photo:
    """A photo with persons of these scores, falling; side by side unless `boxes` says where."""
    boxes = boxes or [(20.0 + 60 * k, 100.0, 75.0 + 60 * k, 260.0) for k in range(len(scores))]
    return Photo(name, person(*boxes, size=(WIDTH, HEIGHT), scores=scores), crc32)


def without(name: str, best: float | None = None, crc32: int | None = None) -> Photo:
    """A photo without a person, in which the best score was `best`."""
    return Photo(name, no_person((WIDTH, HEIGHT), best, (120.0, 200.0, 180.0, 400.0)), crc32)


def failed(name: str, reason: str = "cannot be decoded: damaged") -> Photo:
    """A photo that failed."""
    return Photo(name, Outcome(0, "failed", reason))


# -- Results --------------------------------------------------------------------------------------------------------
def publish(
    output: Path, archives: Mapping[str, Sequence[Photo | tuple[str, Outcome]] | None], confidence: float = 0.25
) -> None:
    """Writes into the folder `output` the results of a run over `archives`. Each has its members, as photos or as
    pairs of name and outcome, or None if it cannot be opened."""
    for number, (archive, members) in enumerate(archives.items()):
        target = layout.manifest(output, archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in ("Person", "No_Person"):
            (output / folder / archive).mkdir(parents=True, exist_ok=True)
        if members is None:
            rows = manifest.failed_archive_rows(archive, "is not a ZIP archive")
        else:
            rows = _write_files(
                output, archive, [each if isinstance(each, Photo) else Photo(*each) for each in members]
            )
        manifest.write(target, rows)
        record = {
            "archive": archive,
            "zip": _zip(archive),
            "fingerprint": _fingerprint(output.parent / _zip(archive)) or f"{number:032x}",
            "model": {"name": "person-n.pt", "sha256": sha256(WEIGHTS), "quantized": ""},
            "settings": {**SETTINGS, "confidence": confidence},
            "device": "cpu",
            "engine": "openvino",
            "workers": 1,
            "threads": 2,
            "versions": {"results": str(RESULTS_VERSION), "python": "3.11.7"},
            "seconds": 2.0 + number % 7,
        }
        layout.record(output, archive).write_text(json.dumps(record))
    table = summary.summarize(output, {archive: _zip(archive) for archive in archives}).table
    summary.write(table, output)


def _zip(archive: str) -> str:
    return f"raw_zips/{archive}.zip"


def _fingerprint(path: Path) -> str:
    """The fingerprint of the archive at `path`, if there is one: its results are not to be made anew."""
    return source.at(str(path)).fingerprint() if path.exists() else ""


def _write_files(output: Path, archive: str, members: Sequence[Photo]) -> list[manifest.Row]:
    """Writes crops and originals of an archive's `members`. Returns the rows of its manifest."""
    images = [(index, each) for index, each in enumerate(members) if each.outcome.status != "skipped"]
    names = output_names([each.name for _, each in images])
    files = dict(zip((index for index, _ in images), names, strict=True))
    rows: list[manifest.Row] = []
    for index, member in enumerate(members):
        outcome = replace(member.outcome, index=index)
        if outcome.status == "person":
            crops = [f"Person/{archive}/{files[index].crop(k, 'jpg')}" for k in range(len(outcome.persons))]
            persons = zip(outcome.persons, crops, strict=True)
            outcome = replace(outcome, persons=tuple(replace(each, file=file) for each, file in persons))
            for each in outcome.persons:
                _write(output / each.file, _crop(each.box, (outcome.width or WIDTH, outcome.height or HEIGHT)))
        elif outcome.status == "no_person":
            outcome = replace(outcome, file=f"No_Person/{archive}/{files[index].original}")
            _write(output / outcome.file, _street())
        crc32 = _crc32(member.name) if member.crc32 is None else member.crc32
        rows += manifest.rows(archive, Member(index, member.name, crc32, member.size, ""), outcome)
    return rows


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@functools.cache
def _crop(box: Box, size: tuple[int, int]) -> bytes:
    x1, y1, x2, y2 = (max(0, int(edge)) for edge in box)
    image = _bus(size)[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
    return cv2.imencode(".jpg", np.ascontiguousarray(image))[1].tobytes()


@functools.cache
def _bus(size: tuple[int, int]) -> np.ndarray:
    image: np.ndarray = cv2.resize(photo("bus"), size, interpolation=cv2.INTER_AREA)
    return image


@functools.cache
def _street() -> bytes:
    return encoded("bus")


def _crc32(name: str) -> int:
    """A different one for each name."""
    return sum(ord(character) << 3 * index for index, character in enumerate(name)) % 2**32
