"""Whether the summary, and what is made from it, are still what the archives' results say; apart from `summary`, since
rules that are read need no pandas."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from zipcrop import files


def is_empty(path: Path) -> bool:
    """Whether a result is there and has lost its content: a file of no bytes, or a folder with a picture of none."""
    if path.is_dir():
        return any(each.stat().st_size == 0 for each in path.glob("*.jpg"))
    return path.exists() and path.stat().st_size == 0


def is_of(path: Path, fingerprints: Mapping[str, str]) -> bool:
    """Whether the `summary.csv` at `path` is whole and has all archives of `fingerprints`, each as it is now, and no
    other."""
    try:
        with files.open_regular(path, "r") as file:
            text = file.read()
        rows = {row["archive"]: row["fingerprint"] for row in csv.DictReader(text.splitlines(keepends=True))}
    except (OSError, ValueError, KeyError, csv.Error):
        return False
    return text.endswith("\r\n") and rows == dict(fingerprints)
