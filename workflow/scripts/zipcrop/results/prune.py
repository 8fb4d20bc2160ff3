"""Pruning: deletes the results of an archive that is gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zipcrop.files import remove_with_empty_parents
from zipcrop.results import layout, tables
from zipcrop.results.layout import FOLDERS, TIMESTAMP


def own_files(output: Path, archive: str, live: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files that the manifest of `archive` names, as paths below the folder `output`: those that are its results
    alone, and those that are no results of it (see `layout.is_own`). Files that the manifests of the archives `live`
    name, whose folders may lie inside its own or around it, are in neither.

    Raises ResultsError if one of the manifests cannot be read, MachineError, OSError.
    """
    kept: set[str] = set()
    for other in live:
        nested = other.startswith(f"{archive}/") or archive.startswith(f"{other}/")
        if nested and layout.manifest(output, other).exists():
            kept |= set(tables.read(output, other)["file"])
    files = [file for file in tables.read(output, archive)["file"] if file and file not in kept]
    return layout.own_and_others(output, archive, files)


def remove(output: Path, archive: str, live: Iterable[str]) -> list[str]:
    """Deletes the results of `archive` below the folder `output`, except files of the archives `live`. Returns what its
    manifest names besides, which is left alone. Raises as `own_files` does."""
    files, others = own_files(output, archive, live)
    for file in files:
        remove_with_empty_parents(output / file, output)
    for folder in FOLDERS:
        if layout.has_own_folder(output, folder, archive):
            _remove_if_empty(output / folder / archive, output)
    # The manifest last: as long as it is there, an interrupted removal is found again.
    for path in (layout.digests, layout.record, layout.manifest):
        remove_with_empty_parents(path(output, archive), output)
    return others


def _remove_if_empty(folder: Path, output: Path) -> None:
    if {path.name for path in folder.glob("*")} == {TIMESTAMP}:
        (folder / TIMESTAMP).unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        remove_with_empty_parents(folder, output)
