"""Picks: the photos and crops in the lists to look at twice, the most remarkable of all archives first."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from zipcrop.results.manifest import BOX

CROWD = 5
"""A photo with that many people is worth a second look."""
Pick = dict[str, Any]
"""A row of a manifest as JSON can hold it, with `box` (x1, y1, x2, y2 in pixels of the upright photo) for the edges,
and `crop` (x, y, width, height there; None where there is none)."""


class Picks:
    """The `length` picks of each list that rank first."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.almost: list[Pick] = []
        """Photos without people, by falling best score."""
        self.unsure: list[Pick] = []
        """People, by rising confidence."""
        self.small: list[Pick] = []
        """People, by the rising area of the crop."""
        self.extreme: list[Pick] = []
        """People, by how far the crop is from a square."""
        self.crowds: list[Pick] = []
        """Photos with at least CROWD people, by their falling number; `people` has each one's box, crop and file."""

    def add(self, persons: pd.DataFrame, without: pd.DataFrame) -> None:
        """Looks at the manifest's rows `persons`, with `crop_x`, `crop_y`, `crop_width` and `crop_height`, and at those
        `without` people that have a confidence."""
        self.almost = self._first(self.almost, without, -without["confidence"])
        self.unsure = self._first(self.unsure, persons, persons["confidence"])
        self.small = self._first(self.small, persons, persons["crop_width"] * persons["crop_height"])
        self.extreme = self._first(self.extreme, persons, -_octaves(persons))
        per_photo = persons.groupby("member_index")["member_index"].transform("size")
        crowds = persons[(persons["person"] == "0") & (per_photo >= CROWD)]
        self.crowds = self._first(self.crowds, crowds, -per_photo[crowds.index])
        for pick in self.crowds:
            if "people" not in pick:
                photo = persons[persons["member_index"] == pick["member_index"]]
                pick["people"] = [{key: each[key] for key in ("box", "crop", "file")} for each in _picks(photo)]

    def _first(self, picks: list[Pick], rows: pd.DataFrame, rank: pd.Series) -> list[Pick]:
        """The first of `picks` and `rows` by `rank`; of equal ones those that came first."""
        best = rank.nsmallest(self._length)
        new = [{**pick, "rank": each} for pick, each in zip(_picks(rows.loc[best.index]), best.tolist(), strict=True)]
        return heapq.nsmallest(self._length, [*picks, *new], key=lambda pick: pick["rank"])

    def to_json(self) -> dict[str, list[Pick]]:
        """The lists by their names, as JSON can hold them."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}


class Failures:
    """Failed archives and members, and how often each reason was given."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._rows: list[pd.DataFrame] = []
        self.reasons: Counter[str] = Counter()

    def add(self, failed: pd.DataFrame) -> None:
        """Looks at the manifest's rows of members that failed."""
        self.reasons.update(failed["reason"])
        first = failed[["archive", "member", "member_index", "bytes", "reason"]].head(self._length)
        if len(first):
            self._rows.append(first.assign(position=range(len(first))))
        if sum(map(len, self._rows)) > 10 * self._length:  # so that memory does not grow with the archives
            self._rows = [self._chosen()]

    def listed(self) -> list[Pick]:
        """The first `length` failures, in the order of the archives. The first one of every archive counts before the
        second ones, and so on, so that one bad archive hides no other."""
        return as_dicts(self._chosen().drop(columns="position")) if self._rows else []

    def _chosen(self) -> pd.DataFrame:
        rows = pd.concat(self._rows, ignore_index=True)
        return rows.sort_values("position", kind="stable").head(self._length).sort_index()


def as_dicts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each of `rows` by the names of its columns."""
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _octaves(persons: pd.DataFrame) -> pd.Series:
    """How far each crop is from a square: 1 if one side is twice the other, 2 if four times."""
    return pd.Series(np.abs(np.log2((persons["crop_width"] / persons["crop_height"]).to_numpy())), persons.index)


def _picks(rows: pd.DataFrame) -> list[Pick]:
    columns = ["archive", "member", "member_index", "width", "height", "confidence", "file"]
    boxes = rows[list(BOX)].to_numpy().tolist()
    crops = rows.reindex(columns=["crop_x", "crop_y", "crop_width", "crop_height"]).to_numpy().tolist()
    return [
        {**row, "box": box, "crop": crop if crop[0] == crop[0] else None}  # NaN where there is none
        for row, box, crop in zip(as_dicts(rows[columns]), boxes, crops, strict=True)
    ]
