"""What lies in staging folders: the names in them, what they say, and what a run or its end does with them.

An archive's staging folder has a lock, and a folder for each key under which results were staged. That holds the
results, a journal until they are published, and, while they replace older ones, these.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from zipcrop import files
from zipcrop.files import remove_with_empty_parents
from zipcrop.process import lock
from zipcrop.results import layout
from zipcrop.results.layout import FOLDERS

_KEY = re.compile("[0-9a-f]{16}")
LOCK = "lock"
RESERVE = "reserve"
"""A file that is removed at the end of a job: what Snakemake notes and logs of a job that has filled the disk has to go
somewhere."""
FORCED = "forced"
JOURNAL = "journal.jsonl"
MANIFEST, DIGESTS, RECORD = "manifest.csv", "digests.sha256", "record.json"
READY = "ready"
"""Says that all results are staged, and only have to be put in their places."""
OLD = "old"
"""The folder of results that are being replaced."""


def keyed(parent: Path) -> list[Path]:
    """What is staged for an archive. Archives below it, of a time when it was no archive but a folder, are not."""
    return [path for path in parent.iterdir() if files.is_folder(path) and _KEY.fullmatch(path.name)]


def remove(folder: Path) -> None:
    """Removes what is staged in `folder`, the folder of a key."""
    # The journal first: it must not promise files that are gone already.
    (folder / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def is_half_in_place(folder: Path, archive: str) -> bool:
    """Whether a job was killed while it put the results of `archive` that are staged in `folder` in the place of older
    ones."""
    parts = (MANIFEST, RECORD, DIGESTS, *(f"{name}/{archive}" for name in FOLDERS))
    return (folder / MANIFEST).exists() and any(os.path.lexists(folder / OLD / part) for part in parts)


def _is_over(folder: Path) -> bool:
    """Whether nobody will carry on from what is staged in `folder`: it has been published, or has no journal, as what a
    kill has left of a folder that was being removed."""
    if (folder / READY).exists():
        return not (folder / MANIFEST).exists()
    return not (folder / JOURNAL).exists()


def force(output: Path, archive: str) -> None:
    """Has the next job of `archive` do it once more, from its beginning, whatever is there, and those after it until
    one has. To be called while no job is at work. Raises MachineError, OSError."""
    parent = layout.staging(output, archive)
    files.create(parent / FORCED, b"")
    for folder in keyed(parent):
        if not is_half_in_place(folder, archive):
            remove(folder)


def forced(output: Path, archives: Iterable[str]) -> set[str]:
    """Those of `archives` that are still to be done once more, as `force` says."""
    root = layout.staging_folder(output)
    return {archive for archive in archives if os.path.lexists(root / archive / FORCED)} if root.is_dir() else set()


def sweep(output: Path, live: Container[str] | None = None) -> None:
    """Removes from the folder `output` what is staged and no longer needed: what has been published, and, given all
    archives that there are in `live`, what is staged of others. What a running job uses stays."""
    root = layout.staging_folder(output)
    for parent in _staged_archives(root):
        archive = parent.relative_to(root).as_posix()
        gone = live is not None and archive not in live
        try:
            held = lock.acquire(parent / LOCK)
        except lock.LockedError:
            continue
        with held:
            for folder in keyed(parent):
                if gone or _is_over(folder):
                    remove(folder)
            if gone:
                (parent / FORCED).unlink(missing_ok=True)
            if not keyed(parent):
                (parent / RESERVE).unlink(missing_ok=True)
                remove_with_empty_parents(parent / LOCK, output)


def has_leftovers(output: Path) -> bool:
    """Whether there is something below the folder `output` for `sweep` to remove."""
    for parent in _staged_archives(layout.staging_folder(output)):
        with contextlib.suppress(PermissionError):  # somebody else's
            folders = keyed(parent)
            if any(map(_is_over, folders)) or not (folders or os.path.lexists(parent / FORCED)):
                return True
    return False


def _staged_archives(root: Path) -> Iterator[Path]:
    """The staging folders below `root`, links apart."""
    if files.is_folder(root):
        for folder, subfolders, names in os.walk(root):
            if LOCK in names:
                subfolders[:] = [name for name in subfolders if not _KEY.fullmatch(name)]
                yield Path(folder)
