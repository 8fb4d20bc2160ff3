"""The staging folder: where an archive's results grow until they are whole, and the journal of what is done.

It lies inside the output folder, on the same file system, so that publishing is renaming. It is keyed by everything
that decides the results; an interrupted job finds its own there and carries on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from zipcrop import lock, manifest
from zipcrop.errors import MachineError, ZipcropError
from zipcrop.manifest import Outcome

FOLDERS = ("Person", "No_Person")


# Names of files and folders in a staging folder; those that are staged under a key are called after its hash.
_KEY = re.compile("[0-9a-f]{16}")
_LOCK = "lock"
_RESERVE = "reserve"
_JOURNAL = "journal.jsonl"
_PUBLISHED = "published"
# Bytes. What Snakemake notes and logs of a job that has filled the disk has to go somewhere.
_RESERVE_SIZE = 1 << 20
# What a file system answers that has no hard links, or no room for one more to a file.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Staging:
    """The staging folder of one archive, which nobody else uses at the same time. To be used in a `with` statement."""

    def __init__(self, output: Path, archive: str, *key: str) -> None:
        """Below the folder `output`, for `archive`, keyed by the texts `key`. What was staged for the same archive
        under another key is removed.

        Raises MachineError where another job is at work on the same archive, OSError where the disk is full.
        """
        self._output = output
        self._archive = archive
        self._parent = output / ".staging" / archive
        try:
            self._lock = lock.acquire(self._parent / _LOCK)
        except lock.LockedError as error:
            raise MachineError(
                f"another job ({error}) is at work on {archive} in {output}; wait until it has ended, or end it, "
                "and run again"
            ) from None
        self.folder = self._parent / hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
        self._journal = self.folder / _JOURNAL
        for stale in _keyed(self._parent):
            if stale != self.folder:
                _remove_staged(stale)
        self._reserve = self._parent / _RESERVE
        try:
            # Random, since some file systems take no room for zeros.
            self._reserve.write_bytes(os.urandom(_RESERVE_SIZE))
        except OSError:
            self._reserve.unlink(missing_ok=True)
            raise
        for name in FOLDERS:
            (self.folder / name / archive).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reserve.unlink(missing_ok=True)
        self._lock.close()

    def resume(self) -> tuple[dict[int, Outcome], float]:
        """The outcomes of the members that are done, by index, and the seconds that they took."""
        done: dict[int, Outcome] = {}
        seconds = 0.0
        whole = 0
        (self.folder / _PUBLISHED).unlink(missing_ok=True)
        self._journal.touch()
        with self._journal.open("rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:
                    break  # what was being written when the job was killed or the power failed
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                seconds = entry["seconds"]
                outcome = Outcome.from_json(entry["outcome"])
                if self._has_files(outcome):
                    done[outcome.index] = outcome
        os.truncate(self._journal, whole)
        self._file = self._journal.open("a", encoding="utf-8")
        return done, seconds

    def _has_files(self, outcome: Outcome) -> bool:
        """Whether all files of a member are there. After a power cut the journal may be, and they not, or empty."""
        try:
            return all((self.folder / file).stat().st_size for file in outcome.files())
        except FileNotFoundError:
            return False

    def record(self, outcome: Outcome, seconds: float) -> None:
        """Notes that a member is done and its files are written, `seconds` after the start of the work, unless it is to
        be tried again."""
        if outcome.again:
            return
        self._file.write(json.dumps({"seconds": round(seconds, 3), "outcome": outcome.to_json()}) + "\n")
        self._file.flush()

    def check_files(self, files: Iterable[str]) -> None:
        """Makes the staged files exactly `files` (paths below the output folder): what a killed worker has left over is
        removed. Raises ZipcropError if one is missing."""
        wanted = set(files)
        for folder in FOLDERS:
            for path in (self.folder / folder).rglob("*"):
                relative = path.relative_to(self.folder).as_posix()
                if path.is_file() and relative not in wanted:
                    path.unlink()
                wanted.discard(relative)
        if wanted:
            raise ZipcropError(
                f"{len(wanted)} results of {self._archive} are missing from {self.folder}, such as {min(wanted)}; "
                "delete that folder and run again"
            )

    def publish(self, rows: Iterable[dict[str, Any]], record: dict[str, Any]) -> None:
        """Writes the manifest's `rows` and the `record` of the job, and puts all results in their places, the manifest
        last.

        They stay staged as well (as hard links, which take no space), until `sweep` removes them: Snakemake deletes the
        results of a job of which it could not note that it ended, and they are put in their places again.
        """
        self._file.close()
        ready = self.folder / "ready"
        if ready.exists():
            shutil.rmtree(ready)
        ready.mkdir()
        (ready / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        manifest.write(ready / "manifest.csv", rows)
        for name in FOLDERS:
            self._make_ready(self.folder / name / self._archive, ready / name)
        for name in FOLDERS:
            _move(ready / name, self._output / name / self._archive)
        _move(ready / "record.json", manifest.record_path(self._output, self._archive))
        _move(ready / "manifest.csv", manifest.path(self._output, self._archive))
        (self.folder / _PUBLISHED).touch()

    def _make_ready(self, staged: Path, ready: Path) -> None:
        try:
            _link_tree(staged, ready)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.rmtree(ready)
            self._journal.unlink(missing_ok=True)  # from here on it would promise files that have moved away
            staged.replace(ready)


def _link_tree(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir()
        for file in files:
            (place / file).hardlink_to(Path(folder, file))


def _move(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _remove_staged(folder: Path) -> None:
    # First, lest a journal promise files that are gone already.
    (folder / _JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _is_over(folder: Path) -> bool:
    """Whether nobody will carry on from what is staged in `folder`: it has been published, or has no journal, as what a
    kill has left of a folder that was being removed."""
    return (folder / _PUBLISHED).exists() or not (folder / _JOURNAL).exists()


def sweep(output: Path, live: Container[str] | None = None) -> None:
    """Removes from the folder `output` what is staged and no longer needed: what has been published, and, given all
    archives that there are in `live`, what is staged of others. What a running job uses stays.

    To be called once Snakemake has noted of the jobs that they have ended.
    """
    for parent in _staged_archives(output / ".staging"):
        archive = parent.relative_to(output / ".staging").as_posix()
        try:
            held = lock.acquire(parent / _LOCK)
        except lock.LockedError:
            continue
        with held:
            for folder in _keyed(parent):
                if _is_over(folder) or (live is not None and archive not in live):
                    _remove_staged(folder)
            if not _keyed(parent):
                (parent / _RESERVE).unlink(missing_ok=True)
                remove_with_empty_parents(parent / _LOCK, output)


def has_leftovers(output: Path) -> bool:
    """Whether there is something below the folder `output` for `sweep` to remove."""
    for parent in _staged_archives(output / ".staging"):
        folders = _keyed(parent)
        if not folders or any(map(_is_over, folders)):
            return True
    return False


def _staged_archives(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        if _LOCK in files:
            subfolders[:] = [name for name in subfolders if not _KEY.fullmatch(name)]
            yield Path(folder)


def _keyed(parent: Path) -> list[Path]:
    """What is staged for an archive. Archives below it, of a time when it was no archive but a folder, are not."""
    return [path for path in parent.iterdir() if path.is_dir() and _KEY.fullmatch(path.name)]


def remove_with_empty_parents(path: Path, root: Path) -> None:
    """Removes a file or folder below `root`, and then the folders above it, below `root`, that it leaves empty."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == root or not parent.is_relative_to(root):
            return
        try:
            parent.rmdir()
        except OSError:  # not empty
            return
