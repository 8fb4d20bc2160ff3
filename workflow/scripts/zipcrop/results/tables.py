"""Manifests as tables: all rows of one archive at once, for sums over columns. Apart from `manifest`, since jobs and
exports need no pandas."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from zipcrop.results import layout
from zipcrop.results.manifest import BOX, COLUMNS, PHOTOS, SIZE, STATUSES
from zipcrop.results.reading import Flaw, reading

_NUMBERS = ["confidence", *BOX]


def read(output: Path, archive: str, check_values: bool = False) -> pd.DataFrame:
    """The manifest of `archive` below the folder `output`: text, except for `member_index` (int64) and `bytes`
    (uint64). `check_values` looks at the other columns, too, so that later readers can take all that is in them.

    Raises ResultsError if there is no manifest of the archive in the file, or not a whole one; MachineError.
    """
    path = layout.manifest(output, archive)
    with reading(path, archive, "manifest"):
        with path.open("rb") as file:
            file.seek(-1, 2)
            if file.read() != b"\n":
                raise Flaw("is cut off")
        # A member may be called "NA".
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        # pandas takes the first column for an index where rows are longer than the header.
        if not set(COLUMNS) <= set(table.columns) or not isinstance(table.index, pd.RangeIndex):
            raise Flaw("has not the columns of a manifest")
        if not table["archive"].eq(archive).all():
            raise Flaw("is another archive's")
        table["member_index"] = table["member_index"].astype(int)
        # An archive may declare any number that ZIP64 has room for.
        table["bytes"] = table["bytes"].replace("", "0").astype(np.uint64)
        if check_values:
            _check_values(table)
        return table


def _check_values(table: pd.DataFrame) -> None:
    """Raises Flaw if the manifest `table` has a value that its later readers cannot take."""
    status = table["status"]
    if not status.isin(STATUSES).all():
        raise Flaw("has a status that there is not")
    photos = table[status.isin(PHOTOS)]
    is_person = status.eq("person")
    # First the texts that there must be, then those that there may be.
    patterns = [
        (photos["crc32"], "[0-9a-f]{8}"),
        *((photos[column], "[1-9][0-9]*") for column in SIZE),
        (table.loc[is_person, "person"], "[0-9]+"),
        *((table[column], "[0-9]*") for column in (*SIZE, "person")),
    ]
    for texts, pattern in patterns:
        if not all(map(re.compile(pattern).fullmatch, texts.unique())):
            raise Flaw(f"has a {texts.name} that is none")
    if table.loc[status.isin(("person", "no_person")), "file"].eq("").any():
        raise Flaw("has a row that is cut off")  # which pandas fills up
    has_box = is_person | table["confidence"].ne("")
    for column in _NUMBERS:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if not (np.isfinite(numbers.to_numpy(float)) | (table[column].eq("") & ~has_box)).all():
            raise Flaw(f"has a {column} that is none")


def read_numbers(output: Path, archive: str) -> pd.DataFrame:
    """As `read`, with numbers for sizes, boxes and confidence: float64, NaN where there is none."""
    table = read(output, archive)
    columns = [*SIZE, *_NUMBERS]
    table[columns] = table[columns].apply(pd.to_numeric).astype(float)  # without rows they would stay text
    return table


def members(table: pd.DataFrame) -> pd.DataFrame:
    """The first row of each member of the manifest `table`."""
    return table.drop_duplicates("member_index")


def photos(members: pd.DataFrame) -> pd.DataFrame:
    """Those of the rows `members` whose member decoded."""
    return members[members["status"].isin(PHOTOS)]


def content_keys(photos: pd.DataFrame) -> np.ndarray:
    """One uint64 per row of `photos`, equal for photos of equal CRC and size: what `duplicates` goes by.

    Of sizes from 4 GiB on, the higher bits are lost, which does no harm: a photo that large is rare, and two of them
    would have to have the same CRC, too.
    """
    crc32 = np.array([int(text, 16) for text in photos["crc32"]], np.uint64)
    return crc32 | photos["bytes"].to_numpy(np.uint64) << np.uint64(32)
