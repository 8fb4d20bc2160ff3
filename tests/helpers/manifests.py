"""Manifests made in code, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from zipcrop.archive.reader import Member
from zipcrop.results import manifest, summary
from zipcrop.results.manifest import Outcome, Person
from zipcrop.results.names import OutputName, output_names

Box = tuple[float, float, float, float]
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


def person(*boxes: Box, size: tuple[int, int] = (640, 480), scores: Sequence[float] = ()) -> Outcome:
    """What becomes of a photo of the width and height `size` with people at `boxes`."""
    scores = scores or [round(0.9 - 0.01 * k, 6) for k in range(len(boxes))]
    persons = tuple(
        Person(box, score, f"Person/{k}.jpg") for k, (box, score) in enumerate(zip(boxes, scores, strict=True))
    )
    return Outcome(0, "person", "", *size, persons)


def no_person(size: tuple[int, int] = (640, 480)) -> Outcome:
    """What becomes of a photo without people, in which something came near to one."""
    return Outcome(0, "no_person", "", *size, (Person((1.0, 2.0, 3.0, 4.0), 0.1),), "No_Person/x.jpg")


def rejected(size: tuple[int, int] = (640, 480)) -> Outcome:
    """What becomes of a photo whose people are all too small."""
    return Outcome(0, "rejected", "no crop has 2 pixels on each side", *size, (Person((1.0, 2.0, 2.5, 4.0), 0.4),))


def _named(archive: str, name: OutputName, outcome: Outcome) -> Outcome:
    """`outcome` with the files that the crop job would have written for a member of that `name`."""
    if outcome.status == "no_person":
        return replace(outcome, file=f"No_Person/{archive}/{name.original}")
    files = [f"Person/{archive}/{name.crop(k, 'jpg')}" for k, _ in enumerate(outcome.cropped())]
    crops = [replace(person, file=file) for person, file in zip(outcome.cropped(), files, strict=True)]
    return replace(outcome, persons=tuple(crops) or outcome.persons)


def publish(output: Path, archives: Mapping[str, Sequence[tuple[str, Outcome]] | None]) -> None:
    """Writes manifests and `summary.csv` below the folder `output`: of each of `archives` its members, name and outcome
    (whose index does not matter); None for one that cannot be opened."""
    for archive, members in archives.items():
        target = manifest.path(output, archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        photos = [name for name, outcome in members or [] if outcome.status != "skipped"]
        planned = iter(output_names(photos))
        rows = [
            row
            for index, (name, outcome) in enumerate(members or [])
            for row in manifest.rows(
                archive,
                Member(index, name, 0x1A2B, 1000, ""),
                outcome if outcome.status == "skipped" else _named(archive, next(planned), outcome),
            )
        ]
        manifest.write(target, manifest.failed_archive_rows(archive, "is empty") if members is None else rows)
    table = pd.DataFrame({"archive": list(archives), "zip": [f"raw/{archive}.zip" for archive in archives]})
    summary.write(table.reindex(columns=summary.COLUMNS), output)
