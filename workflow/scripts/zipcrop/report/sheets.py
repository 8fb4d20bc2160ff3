"""Which archives get contact sheets, and which of their crops and photos are on them."""

from __future__ import annotations

import functools
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zipcrop import manifest
from zipcrop.report import sheet, thumbnail
from zipcrop.report.sheet import Layout, Tile

Row = dict[str, str]


@dataclass(frozen=True)
class Sampling:
    """How much is shown: section `report` of the configuration."""

    seed: int
    sheets: int
    """Most archives with sheets, worst first."""
    crops_per_sheet: int
    photos_per_sheet: int


def draw_all(survey: dict[str, Any], output: Path, crops: Path, photos: Path, sampling: Sampling, threads: int) -> None:
    """Writes contact sheets of the worst archives of `survey`, done in the folder `output`: of crops into the folder
    `crops`, and of photos without people into `photos`, each as `<rank>.jpg` where the archive has any."""
    for folder in (crops, photos):
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads) as pool:
        for rank, each in enumerate(survey["archives"][: sampling.sheets], 1):
            archive = each["archive"]
            rows: dict[str, list[Row]] = {"person": [], "no_person": []}
            for row in manifest.read(output, archive):
                rows.get(row["status"], []).append(row)
            people, others = rows.values()
            if people:
                sample = _sample(people, sampling.crops_per_sheet, sampling.seed, archive)[::-1]
                tiles = _tiles(sample, output, sheet.CROPS, pool)
                subtitle = f"{_number(sample, people)} crops, least sure first"
                (crops / file_name(rank)).write_bytes(sheet.draw(archive, subtitle, tiles, sheet.CROPS))
            if others:
                sample = _sample(others, sampling.photos_per_sheet, sampling.seed, archive)
                tiles = _tiles(sample, output, sheet.PHOTOS, pool)
                subtitle = f"{_number(sample, others)} photos without people, those nearest to a person first"
                (photos / file_name(rank)).write_bytes(sheet.draw(archive, subtitle, tiles, sheet.PHOTOS))


def file_name(rank: int) -> str:
    """Of the sheet of the archive that is `rank`-worst, from 1."""
    return f"{rank:04d}.jpg"


def _sample(rows: list[Row], most: int, seed: int, archive: str) -> list[Row]:
    """At most `most` of `rows`, drawn evenly, by falling confidence; the same ones for the same seed and archive."""
    chosen = random.Random(f"{seed}/{archive}").sample(range(len(rows)), min(most, len(rows)))
    return sorted((rows[place] for place in sorted(chosen)), key=lambda row: -float(row["confidence"] or 0))


def _number(sample: list[Row], rows: list[Row]) -> str:
    return f"{len(sample):,} of {len(rows):,}" if len(sample) < len(rows) else f"all {len(rows):,}"


def _tiles(sample: list[Row], output: Path, layout: Layout, pool: ThreadPoolExecutor) -> list[Tile]:
    paths = [output / row["file"] for row in sample]
    images = pool.map(functools.partial(thumbnail.of_file, width=layout.tile[0], height=layout.tile[1]), paths)
    return [Tile(image, row["member"], _note(row)) for image, row in zip(images, sample, strict=True)]


def _note(row: Row) -> str:
    score = f"{float(row['confidence']):.2f}" if row["confidence"] else "below 0.05"
    return f"#{row['member_index']} · {score}"
