"""Whether the summary, and what is made from it, still agree with the archives' results. Apart from `summary`, so that
reading the rules does not import pandas."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from zipcrop import files


def is_empty(path: Path) -> bool:
    """Whether there is a file of no bytes at `path`, or a folder with such a picture: a power cut takes content."""
    if path.is_dir():
        return any(each.stat().st_size == 0 for each in path.glob("*.jpg"))
    return path.exists() and path.stat().st_size == 0


def is_of(path: Path, fingerprints: Mapping[str, str]) -> bool:
    """Whether the `summary.csv` at `path` is whole and has exactly the archives of `fingerprints`, with these."""
    try:
        with files.open_regular(path, "r") as file:
            text = file.read()
        rows = {row["archive"]: row["fingerprint"] for row in csv.DictReader(text.splitlines(keepends=True))}
    except (OSError, ValueError, KeyError, csv.Error):
        return False
    return text.endswith("\r\n") and rows == dict(fingerprints)
