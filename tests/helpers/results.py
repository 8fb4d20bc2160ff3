"""Finished results made in code: manifests, records, crops, originals and the summary, as a run leaves them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from helpers.support import SETTINGS, WEIGHTS, encoded, photo
from zipcrop import RESULTS_VERSION
from zipcrop.archive import source
from zipcrop.archive.reader import Member
from zipcrop.detect.model import sha256
from zipcrop.results import manifest, summary
from zipcrop.results.manifest import Outcome, Person

Box = tuple[float, float, float, float]
WIDTH, HEIGHT = 405, 540


@dataclass(frozen=True)
class Photo:
    """A member of an archive: its name, what became of it, its CRC and its size in bytes."""

    name: str
    outcome: Outcome
    crc32: int
    size: int = 1000


def people(name: str, *scores: float, boxes: Sequence[Box] = (), crc32: int | None = None) -> Photo:
    """A photo with people of these scores, falling; side by side unless `boxes` says where."""
    places = boxes or [(20.0 + 60 * k, 100.0, 75.0 + 60 * k, 260.0) for k in range(len(scores))]
    persons = tuple(Person(box, score) for box, score in zip(places, scores, strict=True))
    return Photo(name, Outcome(0, "person", "", WIDTH, HEIGHT, persons), _crc32(name, crc32))


def without(name: str, best: float | None = None, crc32: int | None = None) -> Photo:
    """A photo without people, in which the best score was `best`."""
    persons = () if best is None else (Person((120.0, 200.0, 180.0, 400.0), best),)
    return Photo(name, Outcome(0, "no_person", "", WIDTH, HEIGHT, persons), _crc32(name, crc32))


def failed(name: str, reason: str = "cannot be decoded: damaged") -> Photo:
    """A photo that failed."""
    return Photo(name, Outcome(0, "failed", reason), _crc32(name, None))


def publish(output: Path, archives: Mapping[str, Sequence[Photo] | None], confidence: float = 0.25) -> None:
    """Writes into the folder `output` what a run over `archives` would have left there; None for an archive that cannot
    be opened."""
    output.mkdir(parents=True, exist_ok=True)
    for number, (archive, photos) in enumerate(archives.items()):
        target = manifest.path(output, archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        if photos is None:
            rows = manifest.failed_archive_rows(archive, "is not a ZIP archive")
        else:
            rows = [row for index, each in enumerate(photos) for row in _rows(output, archive, index, each)]
        manifest.write(target, rows)
        record = {
            "archive": archive,
            "zip": f"raw_zips/{archive}.zip",
            "fingerprint": _fingerprint(output.parent / "raw_zips" / f"{archive}.zip") or f"{number:032x}",
            "model": {"name": "person-n.pt", "sha256": sha256(WEIGHTS), "quantized": ""},
            "settings": {**SETTINGS, "confidence": confidence},
            "device": "cpu",
            "engine": "openvino",
            "workers": 1,
            "threads": 2,
            "versions": {"results": str(RESULTS_VERSION), "python": "3.11.7"},
            "seconds": 2.0 + number % 7,
        }
        manifest.record_path(output, archive).write_text(json.dumps(record))
        for folder in ("Person", "No_Person"):
            (output / folder / archive).mkdir(parents=True, exist_ok=True)
    table = summary.summarize(output, {archive: f"raw_zips/{archive}.zip" for archive in archives}).table
    summary.write(table, output)


def _fingerprint(path: Path) -> str:
    """Of the archive at `path`, if there is one: then the results are not to be made anew."""
    return source.at(str(path)).fingerprint() if path.exists() else ""


def _rows(output: Path, archive: str, index: int, each: Photo) -> list[dict[str, object]]:
    outcome = replace(each.outcome, index=index)
    if outcome.status == "person":
        files = [f"Person/{archive}/{Path(each.name).stem}_{k}.jpg" for k in range(len(outcome.persons))]
        persons = zip(outcome.persons, files, strict=True)
        outcome = replace(outcome, persons=tuple(replace(person, file=file) for person, file in persons))
        for person in outcome.persons:
            _write(output / person.file, _crop(person.box))
    elif outcome.status == "no_person":
        outcome = replace(outcome, file=f"No_Person/{archive}/{each.name}")
        _write(output / outcome.file, _street())
    member = Member(index, each.name, each.crc32, each.size, "")
    return list(manifest.rows(archive, member, outcome))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@functools.cache
def _crop(box: Box) -> bytes:
    x1, y1, x2, y2 = map(int, box)
    image = cv2.resize(photo("bus"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", np.ascontiguousarray(image[y1:y2, x1:x2]))[1].tobytes()


@functools.cache
def _street() -> bytes:
    return encoded("bus")


def _crc32(name: str, given: int | None) -> int:
    """Another one for each name, unless given."""
    return sum(ord(character) << 3 * place for place, character in enumerate(name)) % 2**32 if given is None else given
