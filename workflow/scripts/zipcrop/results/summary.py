"""The summary: all manifests in one table, a row per archive; what failed; and results whose archive is gone."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from zipcrop import files
from zipcrop.errors import ResultsError, ZipcropError, machine_faults
from zipcrop.results import layout, manifest, soundness
from zipcrop.results.layout import FOLDERS

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
IMAGES = ["person", "no_person", "rejected"]
_BOX = ["confidence", "x1", "y1", "x2", "y2"]
# What the report takes from records, with its type.
_OF_RECORD = {"fingerprint": str, "device": str, "engine": str, "model": dict, "settings": dict, "versions": dict}
_OF_MODEL = ("name", "sha256", "quantized")
_OF_SETTINGS = ("confidence", "crop.padding")


class Summary(NamedTuple):
    """What became of all archives."""

    table: pd.DataFrame
    """One row per archive, of COLUMNS."""
    failures: list[str]
    """A line for each failed archive and member."""
    warnings: list[str]
    """A sentence for each archive whose results cannot be read, and for each folder whose files are other ones than its
    manifest says."""


class _Flaw(ValueError):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


@contextlib.contextmanager
def _reading(path: Path, archive: str, kind: str) -> Iterator[None]:
    """Turns what is raised while the file at `path`, a `kind` of the archive's, is read into a ResultsError or, if the
    machine is at fault, a MachineError."""
    try:
        with machine_faults(f"reading {path}"):
            if not path.is_file():
                raise _Flaw("is no file" if path.exists() else "is missing")
            if not path.stat().st_size:
                raise _Flaw("is empty")
            yield
    except _Flaw as flaw:
        what = str(flaw)
    except (ValueError, LookupError, OverflowError, RecursionError):  # what the readers of CSV and JSON raise
        what = f"is no {kind}"
    else:
        return
    raise ResultsError(archive, f"{path} {what}") from None


def read_manifest(output: Path, archive: str) -> pd.DataFrame:
    """The manifest of `archive` below the folder `output`, as text but for `member_index` (int64) and
    `bytes` (uint64).

    Raises ResultsError if it is no manifest of the archive's, or not whole; MachineError.
    """
    path = manifest.path(output, archive)
    with _reading(path, archive, "manifest"):
        with path.open("rb") as file:
            file.seek(-1, 2)
            if file.read() != b"\n":
                raise _Flaw("is cut off")
        # A member may be called "NA".
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        # pandas takes the first column for an index where rows are longer than the header.
        if not set(manifest.COLUMNS) <= set(table.columns) or not isinstance(table.index, pd.RangeIndex):
            raise _Flaw("has not the columns of a manifest")
        if not table["archive"].eq(archive).all():
            raise _Flaw("is another archive's")
        table["member_index"] = table["member_index"].astype(int)
        # An archive may declare any number that ZIP64 has room for.
        table["bytes"] = table["bytes"].replace("", "0").astype(np.uint64)
        return table


def _check_values(table: pd.DataFrame) -> None:
    """Raises _Flaw if there is something in the manifest `table` that those who read it cannot take."""
    status = table["status"]
    if not status.isin(get_args(manifest.Status)).all():
        raise _Flaw("has a status that there is not")
    images = table[status.isin(IMAGES)]
    is_person = status.eq("person")
    # What there must be, and what there may be.
    patterns = [
        (images["crc32"], "[0-9a-f]{8}"),
        (images["width"], "[1-9][0-9]*"),
        (images["height"], "[1-9][0-9]*"),
        (table.loc[is_person, "person"], "[0-9]+"),
        *((table[column], "[0-9]*") for column in ("width", "height", "person")),
    ]
    for texts, pattern in patterns:
        if not _all_match(pattern, texts):
            raise _Flaw(f"has a {texts.name} that is none")
    if table.loc[status.isin(("person", "no_person")), "file"].eq("").any():
        raise _Flaw("has a row that is cut off")  # which pandas fills up
    has_box = is_person | table["confidence"].ne("")
    for column in _BOX:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if not (np.isfinite(numbers.to_numpy(float)) | (table[column].eq("") & ~has_box)).all():
            raise _Flaw(f"has a {column} that is none")


def _all_match(pattern: str, texts: pd.Series) -> bool:
    return all(map(re.compile(pattern).fullmatch, texts.unique()))


def _read(output: Path, archive: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Manifest and record of `archive`, with nothing in them that those who read them later cannot take. Raises
    ResultsError, MachineError."""
    table = read_manifest(output, archive)
    with _reading(manifest.path(output, archive), archive, "manifest"):
        _check_values(table)
    return table, read_record(output, archive)


def read_record(output: Path, archive: str) -> dict[str, Any]:
    """The record of the job of `archive` below the folder `output`. Raises ResultsError if it is none, or not whole;
    MachineError."""
    path = manifest.record_path(output, archive)
    with _reading(path, archive, "record"):
        record = manifest.read_record(output, archive)
        if not (isinstance(record, dict) and all(isinstance(record.get(key), of) for key, of in _OF_RECORD.items())):
            raise _Flaw("is no record")
        model, settings = record["model"], record["settings"]
        if not all(isinstance(model.get(key), str) for key in _OF_MODEL):
            raise _Flaw("does not name the model")
        numbers = [record.get("seconds"), *map(settings.get, _OF_SETTINGS)]
        if not all(isinstance(each, int | float) and float(each) >= 0 for each in numbers):
            raise _Flaw("is no record")
        # Neither numbers that JSON does not have, nor halves of surrogate pairs.
        json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
        return record


def summarize(output: Path, archives: Mapping[str, str]) -> Summary:
    """What became of each of `archives` (id to path), in their order, from the results below the folder `output`.
    Archives whose results cannot be read are left out. Raises MachineError, OSError."""
    summaries: list[dict[str, Any]] = []
    failures: list[str] = []
    warnings: list[str] = []
    contents = []
    for archive, zip_path in archives.items():
        try:
            table, record = _read(output, archive)
        except ResultsError as error:
            warnings.append(str(error))
            continue
        members = table.drop_duplicates("member_index")
        images = members[members["status"].isin(IMAGES)]
        failures += _failures(zip_path, members)
        warnings += _differences(output, archive, table)
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
            "bytes": sum(members["bytes"].tolist()),  # Python's, since pandas' sum wraps beyond 64 bits
            "seconds": seconds,
            "images_per_second": round(len(images) / seconds, 3) if seconds else 0.0,
        }
        summaries.append(row)
    for row, duplicates in zip(summaries, _duplicates(contents), strict=True):
        row["duplicates"] = duplicates
    return Summary(pd.DataFrame(summaries, columns=COLUMNS), failures, warnings)


def _differences(output: Path, archive: str, table: pd.DataFrame) -> Iterator[str]:
    """A sentence for each folder of the archive's results that has more files, or fewer, than its manifest `table`
    says."""
    for folder, status in zip(FOLDERS, ("person", "no_person"), strict=True):
        place = output / folder / archive
        named = table.loc[table["status"] == status, "file"]
        # Some file systems give names back in another normalisation.
        wanted = {_normal(file.removeprefix(f"{folder}/{archive}/")) for file in named if file}
        there = layout.files_below(place) if layout.has_own_folder(output, folder, archive) else {}
        found = {_normal(name): is_file for name, is_file in there.items()}
        more = [name for name in found if name not in wanted and not soundness.is_foreign(_base(name))]
        fewer = [name for name in wanted if not found.get(name)]
        for names, word in ((more, "more"), (fewer, "fewer")):
            if names:
                shown = ", ".join(map(repr, sorted(names)[:_MOST_NAMES]))
                yield (
                    f"{place} has {len(names)} {'file' if len(names) == 1 else 'files'} {word} than its manifest says: "
                    f"{shown}{', …' if len(names) > _MOST_NAMES else ''}"
                )


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def results_below(folder: Path) -> list[str]:
    """The regular files below `folder`, as paths with `/`, but for what systems leave there by themselves."""
    found = layout.files_below(folder).items()
    return [name for name, is_file in found if is_file and not soundness.is_foreign(_base(name))]


def _failures(zip_path: str, members: pd.DataFrame) -> Iterator[str]:
    for member in members[members["status"] == "failed"].itertuples():
        if member.member_index == -1:
            yield f"archive {zip_path} {member.reason}"
        else:
            yield f"{member.member!r} in {zip_path}: {member.reason}"


def content_keys(images: pd.DataFrame) -> np.ndarray:
    """One uint64 per image, equal for images of equal CRC and size: what `duplicates` goes by.

    Of sizes from 4 GiB on, the higher bits are lost, which does no harm: an image that large is rare, and two of them
    would have to have the same CRC, too.
    """
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
    manifests = (name for name in results_below(output / "manifests") if name.endswith(".csv"))
    return [archive for archive in sorted(name[: -len(".csv")] for name in manifests) if archive not in known]


def read(path: Path) -> pd.DataFrame:
    """The `summary.csv` at `path`; its `bytes` are Python's integers, since their sums may go beyond 64 bits."""
    table = pd.read_csv(
        path, keep_default_na=False, dtype=dict.fromkeys(["archive", "zip", "fingerprint", "bytes"], str)
    )
    return table.assign(bytes=pd.Series([int(each) for each in table["bytes"]], table.index, dtype=object))


def write(table: pd.DataFrame, output: Path) -> None:
    """Writes `summary.csv` into the folder `output`, whole or not at all. Raises OSError."""
    with files.whole(output / "summary.csv") as part:
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
    # Of archives that are gone, too, which does no harm.
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
        _read(output, archive)
    except ResultsError:
        return False
    return True
