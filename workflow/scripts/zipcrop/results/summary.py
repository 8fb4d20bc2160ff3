"""The summary: all manifests in one table, a row per archive; the failures; and results whose archive is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from zipcrop import files
from zipcrop.errors import ResultsError, ZipcropError
from zipcrop.results import layout, record, tables
from zipcrop.results.manifest import PHOTOS

COLUMNS = [
    "archive",
    "zip",
    "fingerprint",
    "members",
    "images",
    "person_images",
    "no_person_images",
    "rejected_images",
    "failed",
    "skipped",
    "crops",
    "duplicates",
    "bytes",
    "seconds",
    "images_per_second",
]
_MOST_NAMES = 3
"""Files that a warning names."""


class Summary(NamedTuple):
    """What became of all archives."""

    table: pd.DataFrame
    """One row per archive, of COLUMNS."""
    failures: list[str]
    """A line for each failed archive and member."""
    warnings: list[str]
    """A sentence for each archive whose results cannot be read, and for each folder whose files are not those that its
    manifest names."""


def summarize(output: Path, archives: Mapping[str, str]) -> Summary:
    """What became of each of `archives` (name to path), in their order, from the results below the folder `output`.
    Archives whose results cannot be read are left out. Raises MachineError, OSError."""
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    warnings: list[str] = []
    contents = []
    for archive, zip_path in archives.items():
        try:
            table = tables.read(output, archive, check_values=True)
            job = record.read(output, archive)
        except ResultsError as error:
            warnings.append(str(error))
            continue
        members = tables.members(table)
        failures += _failures(zip_path, members)
        warnings += _differences(output, archive, table)
        contents.append(tables.content_keys(tables.photos(members)))
        rows.append({"archive": archive, "zip": zip_path, **_counts(table, members, job)})
    for row, duplicates in zip(rows, _duplicates(contents), strict=True):
        row["duplicates"] = duplicates
    return Summary(pd.DataFrame(rows, columns=COLUMNS), failures, warnings)


def _counts(table: pd.DataFrame, members: pd.DataFrame, job: dict[str, Any]) -> dict[str, Any]:
    """The columns of an archive that its manifest `table` and the record of its `job` fill."""
    counts = members["status"].value_counts()
    of_photos = {f"{status}_images": int(counts.get(status, 0)) for status in PHOTOS}
    images, seconds = sum(of_photos.values()), job["seconds"]
    return {
        "fingerprint": job["fingerprint"],
        "members": len(members),
        "images": images,
        **of_photos,
        **{status: int(counts.get(status, 0)) for status in ("failed", "skipped")},
        "crops": int((table["status"] == "person").sum()),
        "bytes": sum(members["bytes"].tolist()),  # Python's, since pandas' sum wraps beyond 64 bits
        "seconds": seconds,
        "images_per_second": round(images / seconds, 3) if seconds else 0.0,
    }


def _differences(output: Path, archive: str, table: pd.DataFrame) -> Iterator[str]:
    """A sentence for each folder of the archive's results that has more files, or fewer, than its manifest `table`
    says."""
    for folder, status in zip(layout.FOLDERS, ("person", "no_person"), strict=True):
        path = output / folder / archive
        named = table.loc[table["status"] == status, "file"]
        wanted = {layout.normal(file.removeprefix(f"{folder}/{archive}/")) for file in named if file}
        there = layout.files_below(path) if layout.has_own_folder(output, folder, archive) else {}
        found = {layout.normal(name): is_file for name, is_file in there.items()}
        more = [name for name in found if name not in wanted and not layout.is_foreign(name.rpartition("/")[2])]
        fewer = [name for name in wanted if not found.get(name)]
        for names, word in ((more, "more"), (fewer, "fewer")):
            if names:
                shown = ", ".join(map(repr, sorted(names)[:_MOST_NAMES]))
                yield (
                    f"{path} has {len(names)} {'file' if len(names) == 1 else 'files'} {word} than its manifest says: "
                    f"{shown}{', …' if len(names) > _MOST_NAMES else ''}"
                )


def _failures(zip_path: str, members: pd.DataFrame) -> Iterator[str]:
    for member in members[members["status"] == "failed"].itertuples():
        if member.member_index == -1:
            yield f"archive {zip_path} {member.reason}"
        else:
            yield f"{member.member!r} in {zip_path}: {member.reason}"


def _duplicates(contents: list[np.ndarray]) -> list[int]:
    """For each array of content keys, how many of them are repeated: they come earlier in it, or in one before it."""
    if not contents:
        return []
    repeated = pd.Series(np.concatenate(contents)).duplicated().to_numpy()
    ends = np.cumsum([len(keys) for keys in contents])[:-1]
    return [int(part.sum()) for part in np.split(repeated, ends)]


def orphans(output: Path, archives: Iterable[str]) -> list[str]:
    """Archives with results below the folder `output` that are not among `archives`."""
    known = set(archives)
    manifests = (name for name in layout.results_below(layout.manifests(output)) if name.endswith(".csv"))
    return [archive for archive in sorted(name[: -len(".csv")] for name in manifests) if archive not in known]


def read(path: Path) -> pd.DataFrame:
    """The `summary.csv` at `path`; its `bytes` are Python's integers, since their sums may go beyond 64 bits."""
    table = pd.read_csv(
        path, keep_default_na=False, dtype=dict.fromkeys(["archive", "zip", "fingerprint", "bytes"], str)
    )
    return table.assign(bytes=pd.Series([int(each) for each in table["bytes"]], table.index, dtype=object))


def write(table: pd.DataFrame, output: Path) -> None:
    """Writes `summary.csv` into the folder `output`, whole or not at all. Raises OSError."""
    with files.whole(layout.summary(output)) as part:
        table.to_csv(part, index=False, lineterminator="\r\n", encoding="utf-8")


def closing_line(table: pd.DataFrame) -> str:
    """The whole run in one line."""
    total = {column: sum(table[column]) for column in COLUMNS[3:12]}
    return (
        f"{len(table)} archives, {total['images']} images: {total['person_images']} with people"
        f" ({total['crops']} crops), {total['no_person_images']} without, {total['rejected_images']}"
        f" rejected, {total['duplicates']} duplicates; {total['failed']} failed, {total['skipped']} skipped"
    )


def require_no_failures(summary: Path) -> None:
    """Raises ZipcropError if the `summary.csv` at `summary` counts any failure."""
    table = read(summary)
    # An archive that is gone may be among them, which does no harm.
    unread = [name for name in orphans(summary.parent, table["archive"]) if not _can_be_read(summary.parent, name)]
    if unread:
        raise ZipcropError(
            f"strict: the results of {', '.join(unread[:5])}{' and others' if len(unread) > 5 else ''} cannot be read;"
            " delete their manifests and run again"
        )
    failed = table[table["failed"] > 0]
    if len(failed):
        raise ZipcropError(
            f"strict: failures: {failed['failed'].sum()}, in {', '.join(failed['archive'][:5])}"
            f"{' and others' if len(failed) > 5 else ''}; the reasons are in the manifests"
        )


def _can_be_read(output: Path, archive: str) -> bool:
    try:
        tables.read(output, archive, check_values=True)
        record.read(output, archive)
    except ResultsError:
        return False
    return True
