"""Picks: the entries of the lists to look at twice, the most remarkable of all archives first."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

CROWD = 5
"""People from which on a photo is worth a second look."""
Entry = dict[str, Any]
"""A row of a manifest as JSON can hold it, with `box` (x1, y1, x2, y2 in pixels of the upright photo) for the edges,
and `crop` (x, y, width, height there; None where there is none)."""


class Picks:
    """The `length` entries of each list that rank first."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.almost: list[Entry] = []
        """Photos without people, by falling best score."""
        self.unsure: list[Entry] = []
        """People, by rising confidence."""
        self.small: list[Entry] = []
        """People, by the rising area of the crop."""
        self.extreme: list[Entry] = []
        """People, by how far the crop is from a square."""
        self.crowds: list[Entry] = []
        """Photos with at least CROWD people, by their falling number; `people` has each one's box, crop and file."""

    def add(self, persons: pd.DataFrame, without: pd.DataFrame) -> None:
        """Looks at the manifest's rows `persons`, with the place of each crop, and those `without` people that
        have a confidence."""
        self.almost = self._first(self.almost, without, -without["confidence"])
        self.unsure = self._first(self.unsure, persons, persons["confidence"])
        self.small = self._first(self.small, persons, persons["crop_width"] * persons["crop_height"])
        self.extreme = self._first(self.extreme, persons, -_octaves(persons))
        per_photo = persons.groupby("member_index")["member_index"].transform("size")
        crowds = persons[(persons["person"] == "0") & (per_photo >= CROWD)]
        self.crowds = self._first(self.crowds, crowds, -per_photo[crowds.index])
        for entry in self.crowds:
            if "people" not in entry:
                photo = persons[persons["member_index"] == entry["member_index"]]
                entry["people"] = [{key: each[key] for key in ("box", "crop", "file")} for each in _entries(photo)]

    def _first(self, entries: list[Entry], rows: pd.DataFrame, rank: pd.Series) -> list[Entry]:
        """The first of `entries` and `rows` by `rank`; of equal ones those that came first."""
        best = rank.nsmallest(self._length)
        new = [
            {**entry, "rank": each} for entry, each in zip(_entries(rows.loc[best.index]), best.tolist(), strict=True)
        ]
        return heapq.nsmallest(self._length, [*entries, *new], key=lambda entry: entry["rank"])

    def to_json(self) -> dict[str, list[Entry]]:
        """As JSON can hold it, by the names of the lists."""
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
            self._rows.append(first.assign(place=range(len(first))))
        if sum(map(len, self._rows)) > 10 * self._length:  # so that memory does not grow with the archives
            self._rows = [self._chosen()]

    def listed(self) -> list[Entry]:
        """As many as `length`: of every archive the first, then of every archive the second, and so on, so that one bad
        archive hides no other; in the order of the archives."""
        return as_entries(self._chosen().drop(columns="place")) if self._rows else []

    def _chosen(self) -> pd.DataFrame:
        rows = pd.concat(self._rows, ignore_index=True)
        return rows.sort_values("place", kind="stable").head(self._length).sort_index()


def as_entries(rows: pd.DataFrame) -> list[Entry]:
    """Each of `rows` by its columns' names."""
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _octaves(persons: pd.DataFrame) -> pd.Series:
    """How far each crop is from a square: 1 if one side is twice the other, 2 if four times."""
    return pd.Series(np.abs(np.log2((persons["crop_width"] / persons["crop_height"]).to_numpy())), persons.index)


def _entries(rows: pd.DataFrame) -> list[Entry]:
    columns = ["archive", "member", "member_index", "width", "height", "confidence", "file"]
    boxes = rows[["x1", "y1", "x2", "y2"]].to_numpy().tolist()
    places = rows.reindex(columns=["crop_x", "crop_y", "crop_width", "crop_height"]).to_numpy().tolist()
    return [
        {**row, "box": box, "crop": place if place[0] == place[0] else None}
        for row, box, place in zip(as_entries(rows[columns]), boxes, places, strict=True)
    ]
