"""Photos that are in several archives: those of equal CRC and size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zipcrop.report.picks import Pick, as_dicts
from zipcrop.results import layout, tables

COPIES_NAMED = 10
"""At most, for each photo."""


@dataclass(frozen=True)
class Duplicates:
    """Photos of which at least two archives have a copy."""

    photos: int
    """The number of different photos."""
    copies: int
    """The number of their copies in all."""
    listed: list[dict[str, Any]]
    """The photos with the most copies: `copies`, a `file` that shows the photo, and `places`, picks with archive and
    member."""


def find(output: Path, contents: dict[str, np.ndarray], length: int) -> Duplicates:
    """The photos that are in several of `contents`, the content keys (`tables.content_keys`) of each archive's photos.
    The `length` photos with the most copies are looked up in the manifests below the folder `output`."""
    archives = list(contents)
    keys = np.concatenate([*contents.values(), np.zeros(0, np.uint64)])
    owners = np.repeat(np.arange(len(archives), dtype=np.uint32), [len(each) for each in contents.values()])
    order = np.argsort(keys, kind="stable")
    keys, owners = keys[order], owners[order]
    del order
    # The positions where another photo begins. Most photos have one copy, and are put aside before anything else.
    edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]])) if len(keys) else np.zeros(1, int)
    several = np.flatnonzero(np.diff(edges) > 1)
    starts, ends = edges[several], edges[several + 1]
    # Sorted stably, the archives of a photo are in order, so the first and the last tell whether they are several.
    across = owners[starts] != owners[ends - 1]
    starts, counts = starts[across], (ends - starts)[across]
    shared = keys[starts]
    chosen = np.argsort(-counts, kind="stable")[:length]
    wanted: dict[str, set[int]] = {}
    for start, count in zip(starts[chosen], counts[chosen], strict=True):
        for position in range(start, start + min(count, COPIES_NAMED)):
            wanted.setdefault(archives[owners[position]], set()).add(int(keys[position]))
    found: dict[int, list[Pick]] = {int(shared[i]): [] for i in chosen}
    for archive in (archive for archive in archives if archive in wanted):
        for key, copy in _look_up(output, archive, wanted[archive]):
            found[key].append(copy)
    listed = [
        {
            "copies": int(counts[i]),
            "file": next((copy["file"] for copy in found[int(shared[i])] if _is_shown(output, copy)), ""),
            "places": found[int(shared[i])][:COPIES_NAMED],
        }
        for i in chosen
    ]
    return Duplicates(len(shared), int(counts.sum()), listed)


def _is_shown(output: Path, copy: Pick) -> bool:
    return layout.is_own(output, copy["archive"], copy["file"])


def _look_up(output: Path, archive: str, keys: set[int]) -> list[tuple[int, Pick]]:
    """The photos of `archive` with one of the content `keys`."""
    photos = tables.photos(tables.members(tables.read(output, archive)))
    found = pd.Series(tables.content_keys(photos), photos.index)
    chosen = found[found.isin(keys)]
    rows = photos.loc[chosen.index, ["archive", "member", "member_index", "status", "file"]]
    return [(int(key), row) for key, row in zip(chosen, as_dicts(rows), strict=True)]
