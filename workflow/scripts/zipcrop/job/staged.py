"""The files in staging folders: their names, their meaning, and how a run forces archives and removes leftovers.

An archive's staging folder has a lock, and a folder for each key under which results were staged. The latter
holds the results, a journal until they are published, and old results while new ones replace them.
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
"""A file that a job removes at its end. If the job has filled the disk, Snakemake then has room to note and log
that."""
FORCED = "forced"
JOURNAL = "journal.jsonl"
MANIFEST, DIGESTS, RECORD = "manifest.csv", "digests.sha256", "record.json"
READY = "ready"
"""A file that says: all results are staged, and only have to be put in their places."""
OLD = "old"
"""The folder of results that are being replaced."""


def keyed(parent: Path) -> list[Path]:
    """The folders of an archive's keys. Archives below it, from a time when its name was a folder's, are not among
    them."""
    return [path for path in parent.iterdir() if files.is_folder(path) and _KEY.fullmatch(path.name)]


def remove(folder: Path) -> None:
    """Removes what is staged in `folder`, the folder of a key."""
    # The journal first: it must not promise files that are gone already.
    (folder / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def is_half_in_place(folder: Path, archive: str) -> bool:
    """Whether a job was killed while it replaced old results of `archive` by those that are staged in `folder`."""
    parts = (MANIFEST, RECORD, DIGESTS, *(f"{name}/{archive}" for name in FOLDERS))
    return (folder / MANIFEST).exists() and any(os.path.lexists(folder / OLD / part) for part in parts)


def _is_over(folder: Path) -> bool:
    """Whether no job will carry on from `folder`: its results are published, or its journal is gone because a job was
    killed while it removed the folder."""
    if (folder / READY).exists():
        return not (folder / MANIFEST).exists()
    return not (folder / JOURNAL).exists()


def force(output: Path, archive: str) -> None:
    """Makes the next job of `archive` do it once more from the beginning, even if its results are sound. If that job
    fails, the one after it does so. Call it while no job is at work. Raises MachineError, OSError."""
    parent = layout.staging(output, archive)
    files.create(parent / FORCED, b"")
    for folder in keyed(parent):
        if not is_half_in_place(folder, archive):
            remove(folder)


def forced(output: Path, archives: Iterable[str]) -> set[str]:
    """Those of `archives` that `force` was called for and that no job has done since."""
    root = layout.staging_folder(output)
    return {archive for archive in archives if os.path.lexists(root / archive / FORCED)} if root.is_dir() else set()


def sweep(output: Path, live: Container[str] | None = None) -> None:
    """Removes staged results that are no longer needed from the folder `output`: those that are published and, if
    `live` names all archives that there are, those of other archives. It leaves alone what a running job uses."""
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
    """Whether `sweep` would find something to remove below the folder `output`."""
    for parent in _staged_archives(layout.staging_folder(output)):
        with contextlib.suppress(PermissionError):  # somebody else's
            folders = keyed(parent)
            if any(map(_is_over, folders)) or not (folders or os.path.lexists(parent / FORCED)):
                return True
    return False


def _staged_archives(root: Path) -> Iterator[Path]:
    """The archives' staging folders below `root`. Links are not followed."""
    if files.is_folder(root):
        for folder, subfolders, names in os.walk(root):
            if LOCK in names:
                subfolders[:] = [name for name in subfolders if not _KEY.fullmatch(name)]
                yield Path(folder)
