"""Which archives get contact sheets, and which of their crops and photos are on them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zipcrop.report import sheet
from zipcrop.report.label import counted
from zipcrop.report.pictures import Pictures
from zipcrop.report.sheet import Layout, Tile
from zipcrop.results import manifest
from zipcrop.results.layout import is_own

Row = dict[str, str]


@dataclass(frozen=True)
class Sampling:
    """How much is shown: section `report` of the configuration."""

    seed: int
    sheets: int
    """Most archives with sheets of crops, and with sheets of photos, worst first."""
    crops_per_sheet: int
    photos_per_sheet: int


@dataclass(frozen=True)
class _Kind:
    """What sheets of one kind show."""

    status: str
    """Of the manifest's rows."""
    column: str
    """Of the summary, which says how many there are."""
    noun: str
    layout: Layout
    order: str
    rising: bool
    """Whether the lowest confidence comes first."""


_CROPS = _Kind("person", "crops", "crop", sheet.CROPS, "least sure first", rising=True)
_PHOTOS = _Kind(
    "no_person",
    "no_person_images",
    "photo without people",
    sheet.PHOTOS,
    "those nearest to a person first",
    rising=False,
)


def draw_all(
    survey: dict[str, Any], output: Path, crops: Path, photos: Path, sampling: Sampling, pictures: Pictures
) -> None:
    """Writes contact sheets of archives of `survey`, done in the folder `output`: of crops into the folder `crops`, and
    of photos without people into `photos`, each as `<rank>.jpg`, of the worst archives that have any. `pictures`
    decodes them."""
    for kind, folder, most in (
        (_CROPS, crops, sampling.crops_per_sheet),
        (_PHOTOS, photos, sampling.photos_per_sheet),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for rank, archive, number in _chosen(survey, kind.column, sampling.sheets):
            sample = _sample(_rows(output, archive, kind.status), number, most, sampling.seed, archive)
            if kind.rising:
                sample.reverse()
            tiles = _tiles(sample, output, kind.layout, pictures)
            subtitle = f"{_number(len(sample), number, kind.noun)}, {kind.order}"
            (folder / file_name(rank)).write_bytes(sheet.draw(archive, subtitle, tiles, kind.layout))


def _chosen(survey: dict[str, Any], column: str, most: int) -> Iterator[tuple[int, str, int]]:
    """The worst archives of those that have any of the summary's `column`: rank among all, name, and how many."""
    ranked = ((rank, each["archive"], each[column]) for rank, each in enumerate(survey["archives"], 1) if each[column])
    return itertools.islice(ranked, most)


def _rows(output: Path, archive: str, status: str) -> Iterator[Row]:
    return (row for row in manifest.read(output, archive) if row["status"] == status)


def file_name(rank: int) -> str:
    """Of the sheet of the archive that is `rank`-worst, from 1."""
    return f"{rank:04d}.jpg"


def _sample(rows: Iterable[Row], number: int, most: int, seed: int, archive: str) -> list[Row]:
    """At most `most` of the `number` of `rows`, drawn evenly, by falling confidence; the same ones for the same seed
    and archive. The others are not held."""
    chosen = set(random.Random(f"{seed}/{archive}").sample(range(number), min(most, number)))
    sample = [row for place, row in enumerate(rows) if place in chosen]
    return sorted(sample, key=lambda row: -float(row["confidence"] or 0))


def _number(shown: int, number: int, noun: str) -> str:
    return f"{shown:,} of {counted(number, noun)}" if shown < number else counted(number, noun)


def _tiles(sample: list[Row], output: Path, layout: Layout, pictures: Pictures) -> list[Tile]:
    # What is no result of the archive's is not to be shown: a folder is no picture.
    paths = [output / (row["file"] if is_own(output, row["archive"], row["file"]) else "") for row in sample]
    images = pictures.thumbnails(paths, *layout.tile)
    return [Tile(image, row["member"], _note(row)) for image, row in zip(images, sample, strict=True)]


def _note(row: Row) -> str:
    score = f"{float(row['confidence']):.2f}" if row["confidence"] else "below 0.05"
    return f"#{row['member_index']} · {score}"
