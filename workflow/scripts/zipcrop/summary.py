"""The summary: all manifests in one table, a row per archive; what failed; and results whose archive is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from zipcrop import manifest
from zipcrop.errors import ZipcropError
from zipcrop.files import remove_with_empty_parents
from zipcrop.layout import FOLDERS

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
# Snakemake leaves it in every folder that is an output.
_TIMESTAMP = ".snakemake_timestamp"
IMAGES = ["person", "no_person", "rejected"]


def read_manifest(output: Path, archive: str) -> pd.DataFrame:
    """The manifest of `archive` below the folder `output`, as text but for `member_index` and `bytes`."""
    # A member may be called "NA".
    table = pd.read_csv(manifest.path(output, archive), dtype=str, keep_default_na=False, encoding="utf-8")
    table["member_index"] = table["member_index"].astype(int)
    table["bytes"] = pd.to_numeric(table["bytes"]).fillna(0).astype(int)
    return table


def summarize(output: Path, archives: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """One row for each of `archives` (id to path), in their order, and a line for each failed archive and member.

    Raises ZipcropError where a manifest does not add up.
    """
    summaries = []
    failures: list[str] = []
    contents = []
    for archive, zip_path in archives.items():
        table = read_manifest(output, archive)
        record = manifest.read_record(output, archive)
        members = table.drop_duplicates("member_index")
        images = members[members["status"].isin(IMAGES)]
        failures += _failures(zip_path, members)
        contents.append(content_keys(images))
        counts = members["status"].value_counts()
        seconds = record["seconds"]
        row = {
            "archive": archive,
            "zip": zip_path,
            "fingerprint": record["fingerprint"],
            "members": len(members),
            "images": len(images),
            **{f"{status}_images": int(counts.get(status, 0)) for status in IMAGES},
            **{status: int(counts.get(status, 0)) for status in ("failed", "skipped")},
            "crops": int((table["status"] == "person").sum()),
            "bytes": int(members["bytes"].sum()),
            "seconds": seconds,
            "images_per_second": round(len(images) / seconds, 3) if seconds else 0.0,
        }
        _check(row, output)
        summaries.append(row)
    for row, duplicates in zip(summaries, _duplicates(contents), strict=True):
        row["duplicates"] = duplicates
    return pd.DataFrame(summaries, columns=COLUMNS), failures


def _check(row: dict[str, object], output: Path) -> None:
    def total(*columns: str) -> int:
        return sum(int(str(row[column])) for column in columns)

    images = total("person_images", "no_person_images", "rejected_images")
    files = sum(1 for path in (output / "Person" / str(row["archive"])).rglob("*") if is_result(path))
    if row["members"] != images + total("failed", "skipped") or row["images"] != images or row["crops"] != files:
        raise ZipcropError(
            f"the results of {row['archive']} do not add up ({files} files under Person, and {row}); "
            f"run snakemake --forcerun crop_archive, or delete its manifest and run again"
        )


def is_result(path: Path) -> bool:
    """Whether `path` is a file of ours."""
    return path.is_file() and path.name != _TIMESTAMP


def _failures(zip_path: str, members: pd.DataFrame) -> Iterator[str]:
    for member in members[members["status"] == "failed"].itertuples():
        if member.member_index == -1:
            yield f"archive {zip_path} {member.reason}"
        else:
            yield f"{member.member!r} in {zip_path}: {member.reason}"


def content_keys(images: pd.DataFrame) -> np.ndarray:
    """One uint64 per image, equal for images of equal CRC and size: what `duplicates` goes by."""
    crc32 = np.array([int(text, 16) for text in images["crc32"]], np.uint64)
    return crc32 | images["bytes"].to_numpy(np.uint64) << np.uint64(32)


def _duplicates(contents: list[np.ndarray]) -> list[int]:
    """For each array of content keys, how many of them an earlier place had already."""
    if not contents:
        return []
    repeated = pd.Series(np.concatenate(contents)).duplicated().to_numpy()
    ends = np.cumsum([len(keys) for keys in contents])[:-1]
    return [int(part.sum()) for part in np.split(repeated, ends)]


def orphans(output: Path, archives: Iterable[str]) -> list[str]:
    """Archives with results below the folder `output` that are not among `archives`."""
    known = set(archives)
    manifests = output / "manifests"
    found = sorted(path.relative_to(manifests).as_posix()[: -len(".csv")] for path in manifests.rglob("*.csv"))
    return [archive for archive in found if archive not in known]


def own_files(output: Path, archive: str, live: Iterable[str]) -> list[str]:
    """The files, as paths below the folder `output`, that the manifest of `archive` names and that of none of the
    archives `live`, whose folders may lie inside its own or around it."""
    kept: set[str] = set()
    for other in live:
        nested = other.startswith(f"{archive}/") or archive.startswith(f"{other}/")
        if nested and manifest.path(output, other).exists():
            kept |= set(read_manifest(output, other)["file"])
    return [file for file in read_manifest(output, archive)["file"] if file and file not in kept]


def remove(output: Path, archive: str, live: Iterable[str]) -> None:
    """Deletes the results of `archive` below the folder `output`, but for files of the archives `live`."""
    for file in own_files(output, archive, live):
        remove_with_empty_parents(output / file, output)
    for folder in FOLDERS:
        _remove_if_empty(output / folder / archive, output)
    remove_with_empty_parents(manifest.record_path(output, archive), output)
    # Last: as long as it is there, an interrupted removal is found again.
    remove_with_empty_parents(manifest.path(output, archive), output)


def _remove_if_empty(folder: Path, output: Path) -> None:
    if {path.name for path in folder.glob("*")} == {_TIMESTAMP}:
        (folder / _TIMESTAMP).unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        remove_with_empty_parents(folder, output)


def read(path: Path) -> pd.DataFrame:
    """The `summary.csv` at `path`."""
    return pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(["archive", "zip", "fingerprint"], str))


def write(table: pd.DataFrame, output: Path) -> None:
    """Writes `summary.csv` into the folder `output`."""
    table.to_csv(output / "summary.csv", index=False, lineterminator="\r\n", encoding="utf-8")


def closing_line(table: pd.DataFrame) -> str:
    """The whole run in one line."""
    total = table.sum(numeric_only=True)
    return (
        f"{len(table)} archives, {total['images']:.0f} images: {total['person_images']:.0f} with people"
        f" ({total['crops']:.0f} crops), {total['no_person_images']:.0f} without, {total['rejected_images']:.0f}"
        f" rejected, {total['duplicates']:.0f} duplicates; {total['failed']:.0f} failed, {total['skipped']:.0f} skipped"
    )


def require_no_failures(summary: Path) -> None:
    """Raises ZipcropError if the `summary.csv` at `summary` counts any failure."""
    table = read(summary)
    failed = table[table["failed"] > 0]
    if len(failed):
        raise ZipcropError(
            f"strict: failures: {failed['failed'].sum()}, in {', '.join(failed['archive'][:5])}"
            f"{' and others' if len(failed) > 5 else ''}; the reasons are in the manifests"
        )
