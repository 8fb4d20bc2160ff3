"""Pruning: results whose archive is gone, and what of them may be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zipcrop.files import remove_with_empty_parents
from zipcrop.results import layout, manifest, soundness, summary
from zipcrop.results.layout import FOLDERS


def own_files(output: Path, archive: str, live: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files, as paths below the folder `output`, that the manifest of `archive` names and that of none of the
    archives `live`, whose folders may lie inside its own or around it; and what else the manifest names, which is no
    file of the archive's results (see `layout.is_own`).

    Raises ResultsError if one of the manifests cannot be read, MachineError, OSError.
    """
    kept: set[str] = set()
    for other in live:
        nested = other.startswith(f"{archive}/") or archive.startswith(f"{other}/")
        if nested and manifest.path(output, other).exists():
            kept |= set(summary.read_manifest(output, other)["file"])
    files = [file for file in summary.read_manifest(output, archive)["file"] if file and file not in kept]
    return layout.own_and_others(output, archive, files)


def remove(output: Path, archive: str, live: Iterable[str]) -> list[str]:
    """Deletes the results of `archive` below the folder `output`, but for files of the archives `live`. Gives what its
    manifest names besides, which is left alone. Raises as `own_files` does."""
    files, others = own_files(output, archive, live)
    for file in files:
        remove_with_empty_parents(output / file, output)
    for folder in FOLDERS:
        if layout.has_own_folder(output, folder, archive):
            _remove_if_empty(output / folder / archive, output)
    # The manifest last: as long as it is there, an interrupted removal is found again.
    for path in (layout.digests, manifest.record_path, manifest.path):
        remove_with_empty_parents(path(output, archive), output)
    return others


def _remove_if_empty(folder: Path, output: Path) -> None:
    if {path.name for path in folder.glob("*")} == {soundness.TIMESTAMP}:
        (folder / soundness.TIMESTAMP).unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        remove_with_empty_parents(folder, output)
