"""Which archives get contact sheets, and which of their crops and photos are on them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zipcrop.report import sheet, thumbnail
from zipcrop.report.label import counted
from zipcrop.report.sheet import Layout, Tile
from zipcrop.results import manifest
from zipcrop.results.layout import is_own

if TYPE_CHECKING:
    from zipcrop.report.pictures import Pictures


class Candidate(NamedTuple):
    """A crop, or a photo without people, that may be shown."""

    member: str
    member_index: int
    confidence: float | None
    """Of the person, or of what came nearest to one; None if nothing did."""
    file: str
    """Path below the output folder, with `/`."""


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
    """The status of the members that are shown."""
    column: str
    """The summary's column that counts them."""
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
    """Writes contact sheets of archives of `survey`, whose results are in the folder `output`: of crops into the folder
    `crops`, and of photos without people into `photos`, each as `<rank>.jpg`, for the worst archives that have any.
    `pictures` decodes them."""
    for kind, folder, most in (
        (_CROPS, crops, sampling.crops_per_sheet),
        (_PHOTOS, photos, sampling.photos_per_sheet),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for rank, archive, number in _chosen(survey, kind.column, sampling.sheets):
            sample = _sample(_candidates(output, archive, kind.status), number, most, sampling.seed, archive)
            if kind.rising:
                sample.reverse()
            tiles = _tiles(sample, output, archive, kind.layout, pictures)
            subtitle = f"{_number(len(sample), number, kind.noun)}, {kind.order}"
            (folder / file_name(rank)).write_bytes(sheet.draw(archive, subtitle, tiles, kind.layout))


def _chosen(survey: dict[str, Any], column: str, most: int) -> Iterator[tuple[int, str, int]]:
    """The worst of the archives that count any in the summary's `column`: rank among all, name, and the count."""
    ranked = ((rank, each["archive"], each[column]) for rank, each in enumerate(survey["archives"], 1) if each[column])
    return itertools.islice(ranked, most)


def _candidates(output: Path, archive: str, status: str) -> Iterator[Candidate]:
    for member, outcome in manifest.members(output, archive):
        if outcome.status == status:
            for person in outcome.persons:
                yield Candidate(member, outcome.index, person.confidence, person.file or outcome.file)
            if not outcome.persons:
                yield Candidate(member, outcome.index, None, outcome.file)


def file_name(rank: int) -> str:
    """The name of the sheet of the `rank`-worst archive, from 1."""
    return f"{rank:04d}.jpg"


def _sample(candidates: Iterable[Candidate], number: int, most: int, seed: int, archive: str) -> list[Candidate]:
    """At most `most` of the `number` of `candidates`, drawn evenly, by falling confidence; the same ones for the same
    seed and archive. The others are not held."""
    chosen = set(random.Random(f"{seed}/{archive}").sample(range(number), min(most, number)))
    sample = [candidate for position, candidate in enumerate(candidates) if position in chosen]
    return sorted(sample, key=lambda candidate: -(candidate.confidence or 0))


def _number(shown: int, number: int, noun: str) -> str:
    return f"{shown:,} of {counted(number, noun)}" if shown < number else counted(number, noun)


def _tiles(sample: list[Candidate], output: Path, archive: str, layout: Layout, pictures: Pictures) -> list[Tile]:
    # A file that is no result of the archive is not shown: the folder itself, which stands in for it, is no picture.
    paths = [output / (each.file if is_own(output, archive, each.file) else "") for each in sample]
    images = thumbnail.of_files(pictures, paths, *layout.tile)
    return [Tile(image, each.member, _note(each)) for image, each in zip(images, sample, strict=True)]


def _note(candidate: Candidate) -> str:
    score = "below 0.05" if candidate.confidence is None else f"{candidate.confidence:.2f}"
    return f"#{candidate.member_index} · {score}"
