"""Photos that are in several archives, byte for byte as far as CRC and size tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zipcrop.report.picks import Entry, as_entries
from zipcrop.results import layout, summary

COPIES_NAMED = 10
"""Of each photo."""


@dataclass(frozen=True)
class Duplicates:
    """Photos of which at least two archives have a copy."""

    photos: int
    """Different ones."""
    copies: int
    """Of all of them together."""
    listed: list[Entry]
    """Those of the most copies: `copies`, a `file` that shows it, and `places`, entries with archive and member."""


def find(output: Path, contents: dict[str, np.ndarray], length: int) -> Duplicates:
    """What `contents`, the content keys (`summary.content_keys`) of each archive's images, have in common; the `length`
    photos of the most copies are looked up in the manifests below `output`."""
    archives = list(contents)
    keys = np.concatenate([*contents.values(), np.zeros(0, np.uint64)])
    owners = np.repeat(np.arange(len(archives), dtype=np.uint32), [len(each) for each in contents.values()])
    order = np.argsort(keys, kind="stable")
    keys, owners = keys[order], owners[order]
    del order
    # Where another photo begins. Of the photos, most have one copy and are put aside before anything is made of them.
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
        for place in range(start, start + min(count, COPIES_NAMED)):
            wanted.setdefault(archives[owners[place]], set()).add(int(keys[place]))
    found: dict[int, list[Entry]] = {int(shared[i]): [] for i in chosen}
    for archive in (archive for archive in archives if archive in wanted):
        for key, entry in _look_up(output, archive, wanted[archive]):
            found[key].append(entry)
    listed = [
        {
            "copies": int(counts[i]),
            "file": next((place["file"] for place in found[int(shared[i])] if _is_shown(output, place)), ""),
            "places": found[int(shared[i])][:COPIES_NAMED],
        }
        for i in chosen
    ]
    return Duplicates(len(shared), int(counts.sum()), listed)


def _is_shown(output: Path, place: Entry) -> bool:
    return layout.is_own(output, place["archive"], place["file"])


def _look_up(output: Path, archive: str, keys: set[int]) -> list[tuple[int, Entry]]:
    """The images of `archive` with one of the content `keys`."""
    table = summary.read_manifest(output, archive).drop_duplicates("member_index")
    images = table[table["status"].isin(summary.IMAGES)]
    found = pd.Series(summary.content_keys(images), images.index)
    chosen = found[found.isin(keys)]
    rows = images.loc[chosen.index, ["archive", "member", "member_index", "status", "file"]]
    return [(int(key), row) for key, row in zip(chosen, as_entries(rows), strict=True)]
