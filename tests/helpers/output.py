"""The content of an output folder: results, records, and files that are still staged."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from helpers.files import read_csv
from zipcrop.results import layout

FOLDERS = (*layout.FOLDERS, "manifests")
"""The folders whose files are an archive's results."""
_SNAKEMAKES = ".snakemake_timestamp"


def files_below(folder: Path, passed_over: Collection[str] = ()) -> dict[str, bytes]:
    """Everything below `folder` but folders: path with `/` to content, which is empty for pipes and dangling links.
    Leaves out paths with a part that is `passed_over`."""
    found = ((path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if not path.is_dir())
    return {
        relative.as_posix(): path.read_bytes() if path.is_file() else b""
        for relative, path in found
        if not {*relative.parts} & {*passed_over}
    }


def results(output: Path, records: bool = False) -> dict[str, bytes]:
    """The results of all archives in the folder `output`, by path; their records, which hold times, only if wanted."""
    return {
        f"{name}/{path}": data
        for name in FOLDERS
        for path, data in files_below(output / name, (_SNAKEMAKES,)).items()
        if records or not (name == "manifests" and path.endswith(".json"))
    }


def staged(output: Path) -> dict[str, bytes]:
    """The files below the staging folder."""
    return files_below(output / ".staging")


def contents(output: Path) -> dict[str, object]:
    """All that a run leaves in the folder `output`, by path; but no JSON, and no column, that holds times."""
    files: dict[str, object] = {
        path: data for path, data in files_below(output, (_SNAKEMAKES, ".lock")).items() if not path.endswith(".json")
    }
    files["summary.csv"] = [
        {column: value for column, value in row.items() if column not in ("seconds", "images_per_second")}
        for row in read_csv(output / "summary.csv")
    ]
    return files


def journalled(output: Path, archive: str = "") -> int:
    """How many members, of one archive or of all, are noted as done but not yet published."""
    journals = (output / ".staging" / archive).rglob("journal.jsonl")
    return sum(max(0, len(path.read_bytes().splitlines()) - 1) for path in journals)  # the first line is a head
