"""The survey: one pass over all manifests for the numbers, the distributions and the lists that the report shows.

It holds the manifest of one archive at a time. Apart from that, its memory grows only by eight bytes for each photo,
and by some forty for a moment while it looks for duplicates.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zipcrop.report import REPORT_VERSION, distributions, duplicates
from zipcrop.report.bins import ASPECT_EDGES, CONFIDENCE_EDGES, HEIGHT_EDGES
from zipcrop.report.distributions import Distributions
from zipcrop.report.picks import CROWD, Failures, Pick, Picks, as_dicts
from zipcrop.results import layout, record, tables
from zipcrop.results.manifest import PHOTOS

_MOST_REASONS = 20


@dataclass
class _Borderline:
    """Numbers of persons and photos to look at twice, added up over archives."""

    barely_kept: int = 0
    nearly_kept: int = 0
    crowded: int = 0
    most_people: int = 0

    def add(self, persons: pd.DataFrame, without: pd.DataFrame, threshold: float) -> None:
        """Counts rows as `Distributions.add` takes them, kept above the confidence `threshold`."""
        per_photo = persons["member_index"].value_counts()
        self.barely_kept += int((persons["confidence"] < threshold + 0.05).sum())
        self.nearly_kept += int((without["confidence"] > threshold / 2).sum())
        self.crowded += int((per_photo >= CROWD).sum())
        self.most_people = max([self.most_people, *per_photo[:1].tolist()])


def survey(output: Path, table: pd.DataFrame, list_length: int, failures_listed: int) -> dict[str, Any]:
    """Surveys the archives of the summary `table`, whose results are in the folder `output`, as JSON can hold it.

    It has the report's `version`; `numbers` that captions quote; `distributions`, counts per bin (see `Distributions`);
    `archives`, the worst first (see `_worst_first`), with each one's counts; `picks`, `duplicates` and `failures`,
    which name archive and member, at most `list_length` in each list and `failures_listed`; `reasons` with their
    numbers; `provenance`, what the records say.

    Raises ResultsError if results of an archive cannot be read any more, MachineError.
    """
    counted, borderline = Distributions(), _Borderline()
    picks, failures = Picks(list_length), Failures(failures_listed)
    contents: dict[str, np.ndarray] = {}
    mean_confidence: dict[str, float | None] = {}
    records = {archive: record.read(output, archive) for archive in table["archive"]}
    for archive, job in records.items():
        rows = tables.read_numbers(output, archive)
        persons = rows[rows["status"] == "person"]
        persons = persons.assign(**_crop_edges(persons, job["settings"]["crop.padding"]))
        without = rows[(rows["status"] == "no_person") & rows["confidence"].notna()]
        members = tables.members(rows)
        counted.add(persons, without)
        borderline.add(persons, without, job["settings"]["confidence"])
        picks.add(persons, without)
        failures.add(members[members["status"] == "failed"])
        contents[archive] = tables.content_keys(tables.photos(members))
        mean_confidence[archive] = float(persons["confidence"].mean()) if len(persons) else None
    shared = duplicates.find(output, contents, list_length)
    of_duplicates = {"shared_photos": shared.photos, "shared_copies": shared.copies}
    return {
        "version": REPORT_VERSION,
        "numbers": {**_totals(table), **_of_people(counted), **vars(borderline), **of_duplicates},
        "distributions": counted.to_json(),
        "archives": _worst_first(table, mean_confidence),
        "picks": {name: [_shown(output, each) for each in listed] for name, listed in picks.to_json().items()},
        "duplicates": shared.listed,
        "failures": failures.listed(),
        "reasons": failures.reasons.most_common(_MOST_REASONS),
        "provenance": _provenance(records.values()),
    }


def _shown(output: Path, pick: Pick) -> Pick:
    """`pick` without the files that are no results of its archive, which are not to be shown."""
    archive = pick["archive"]
    shown = {**pick, "file": _own(output, archive, pick["file"])}
    if "people" in pick:
        shown["people"] = [{**each, "file": _own(output, archive, each["file"])} for each in pick["people"]]
    return shown


def _own(output: Path, archive: str, file: str) -> str:
    return file if layout.is_own(output, archive, file) else ""


def _crop_edges(persons: pd.DataFrame, padding: float) -> dict[str, np.ndarray]:
    """Left and top edge, width and height of the crops in pixels of the photo, as `crop.crop_slice` cuts them."""
    edges = {}
    for axis, side in (("x", "width"), ("y", "height")):
        first, last, limit = (persons[column].to_numpy(float) for column in (f"{axis}1", f"{axis}2", side))
        pad = padding * (last - first)
        edges[f"crop_{axis}"] = np.maximum(first - pad, 0).astype(int)
        edges[f"crop_{side}"] = np.minimum(last + pad, limit).astype(int) - edges[f"crop_{axis}"]
    return edges


def _totals(table: pd.DataFrame) -> dict[str, Any]:
    """The summary's columns added up, and what follows from them."""
    counts = ["members", "images", *(f"{status}_images" for status in PHOTOS), "failed", "skipped", "crops"]
    totals: dict[str, Any] = {key: int(table[key].sum()) for key in [*counts, "duplicates", "bytes"]}
    seconds = float(table["seconds"].sum())
    return {
        **totals,
        "archives": len(table),
        "archives_with_failures": int((table["failed"] > 0).sum()),
        "archives_without_people": int((table["person_images"] == 0).sum()),
        "archives_with_crops": int((table["crops"] > 0).sum()),
        "archives_with_no_person": int((table["no_person_images"] > 0).sum()),
        "seconds": round(seconds, 1),
        "images_per_second": round(totals["images"] / seconds, 2) if seconds else 0.0,
    }


def _of_people(counted: Distributions) -> dict[str, Any]:
    """Figures of the distributions; None where there is nothing to tell."""
    photos = counted.people.sum()
    median_aspect = distributions.quantile(counted.aspects, ASPECT_EDGES, 0.5)
    return {
        "median_confidence": _rounded(distributions.quantile(counted.confidence, CONFIDENCE_EDGES, 0.5), 2),
        "almost": int(counted.best_scores.sum()),
        "heights": [_rounded(distributions.quantile(counted.heights, HEIGHT_EDGES, s), 0) for s in (0.05, 0.5, 0.95)],
        "median_aspect": _rounded(median_aspect, 2),
        "people_per_photo": round(float(counted.confidence.sum() / photos), 2) if photos else None,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _worst_first(table: pd.DataFrame, mean_confidence: dict[str, float | None]) -> list[dict[str, Any]]:
    """The summary's rows with `mean_confidence`. Archives with the largest share of failures come first; of equal ones,
    those whose people are least sure, beginning with those without people."""
    rows = table.assign(mean_confidence=pd.Series([mean_confidence[each] for each in table["archive"]], dtype=float))
    failed = -(rows["failed"] / rows["members"].clip(lower=1))
    order = np.lexsort([rows["mean_confidence"].fillna(0), failed])
    return [{key: _plain(value) for key, value in row.items()} for row in as_dicts(rows.iloc[order])]


def _plain(value: Any) -> Any:
    """A value of a table as JSON can hold it."""
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 6)
    return value


def _provenance(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the records say, apart from the archives' own figures, with the number of archives for which they say it."""
    keys = ("model", "settings", "device", "engine", "versions")
    said = Counter(json.dumps({key: record.get(key) for key in keys}) for record in records)
    return [{**json.loads(text), "archives": count} for text, count in said.most_common()]
