"""The staging folder: where an archive's results grow until they are whole, and the journal of what is done.

It lies inside the output folder, on the same file system, so that publishing is renaming. It is keyed by everything
that decides the results; an interrupted job finds its own there and carries on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from zipcrop import files
from zipcrop.errors import MachineError, ZipcropError
from zipcrop.files import remove_with_empty_parents
from zipcrop.process import lock
from zipcrop.results import digests, layout, manifest, soundness
from zipcrop.results.layout import FOLDERS
from zipcrop.results.manifest import Content, Outcome

# Names of files and folders in a staging folder; those that are staged under a key are called after its hash.
_KEY = re.compile("[0-9a-f]{16}")
_LOCK = "lock"
_RESERVE = "reserve"
_FORCED = "forced"
_JOURNAL = "journal.jsonl"
_MANIFEST, _DIGESTS, _RECORD = "manifest.csv", "digests.sha256", "record.json"
_READY = "ready"
_OLD = "old"
# Bytes. What Snakemake notes and logs of a job that has filled the disk has to go somewhere.
_RESERVE_SIZE = 1 << 20


class Staging:
    """The staging folder of one archive, which nobody else uses at the same time. To be used in a `with` statement."""

    def __init__(self, output: Path, archive: str, *key: str) -> None:
        """Below the folder `output`, for `archive`, keyed by the texts `key`. What was staged for the same archive
        under another key is removed.

        Raises MachineError where another job is at work on the same archive, or where a link leads out of the output
        folder; OSError where the disk is full.
        """
        self._output = output
        self._archive = archive
        self._parent = layout.staging(output, archive)
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
                if _is_half_in_place(stale, archive):
                    # Of the old results as well as of the new ones a part is staged: first there are to be whole ones.
                    self._put_in_place(stale)
                _remove_staged(stale)
        self._reserve = self._parent / _RESERVE
        try:
            # Random, since some file systems take no room for zeros.
            files.create(self._reserve, os.urandom(_RESERVE_SIZE))
        except OSError:
            self._reserve.unlink(missing_ok=True)
            raise
        if not files.is_folder(self.folder):
            files.remove(self.folder)
        files.remove_foreign(self.folder)

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
            if not _keyed(self._parent) and not self.is_forced():
                remove_with_empty_parents(self._parent / _LOCK, self._output)
        self._lock.close()

    def is_forced(self) -> bool:
        """Whether somebody has asked for the archive to be done once more, whatever is there (see `force`)."""
        return os.path.lexists(self._parent / _FORCED)

    def is_ready(self) -> bool:
        """Whether all results are staged, and what was interrupted is putting them in their places."""
        return (self.folder / _READY).is_file()

    def resume(self) -> tuple[dict[int, Outcome], float]:
        """The outcomes of the members that are done, by index, and the seconds that they took."""
        for name in FOLDERS:
            (self.folder / name / self._archive).mkdir(parents=True, exist_ok=True)
        self._journal.touch()
        done, seconds, whole = self._read_journal()
        os.truncate(self._journal, whole)
        self._file: IO[str] = self._journal.open("a", encoding="utf-8")
        if not whole:
            self._note({"boot": soundness.boot()})
        return done, seconds

    def _read_journal(self) -> tuple[dict[int, Outcome], float, int]:
        """What `resume` gives, and the bytes of the lines that are whole."""
        done: dict[int, Outcome] = {}
        seconds = 0.0
        whole = 0
        boot = ""
        with self._journal.open("rb") as lines:
            for line in lines:
                # What was being written when the job was killed or the power failed has no end, or is no JSON.
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    if whole:
                        outcome = Outcome.from_json(entry["outcome"])
                        seconds = float(entry["seconds"])
                    else:
                        boot = entry["boot"]
                except (ValueError, KeyError, TypeError):
                    break
                if whole and self._has_files(outcome, read=not boot or boot != soundness.boot()):
                    done[outcome.index] = outcome
                whole += len(line)
        return done, seconds, whole

    def _has_files(self, outcome: Outcome, read: bool) -> bool:
        """Whether all files of a member are there, in full. After a power cut the journal may be, and they not: then
        their length proves nothing, and they are to be `read`."""
        written = list(zip(outcome.files(), outcome.contents, strict=False))
        if len(written) != len(outcome.files()):
            return False
        try:
            for file, content in written:
                path = self.folder / file
                if path.stat().st_size != content.size or (read and Content.of(path.read_bytes()) != content):
                    return False
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        return True

    def record(self, outcome: Outcome, seconds: float) -> None:
        """Notes that a member is done and its files are written, `seconds` after the start of the work; not what is to
        be tried again."""
        if not outcome.again:
            self._note({"seconds": round(seconds, 3), "outcome": outcome.to_json()})

    def _note(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def check_files(self, outcomes: Iterable[Outcome]) -> None:
        """Makes the staged files exactly those of `outcomes`: what a killed worker has left over is removed. Raises
        ZipcropError if one is missing, or is not as long as what was written."""
        wanted = {
            file: content.size
            for outcome in outcomes
            for file, content in zip(outcome.files(), outcome.contents, strict=True)
        }
        for folder in FOLDERS:
            for parent, _, names in os.walk(self.folder / folder):
                for name in names:
                    path = Path(parent, name)
                    relative = path.relative_to(self.folder).as_posix()
                    if wanted.get(relative) == path.lstat().st_size:
                        del wanted[relative]
                    else:
                        path.unlink()
        if wanted:
            raise ZipcropError(
                f"{len(wanted)} results of {self._archive} are missing from {self.folder}, such as {min(wanted)}; "
                "delete that folder and run again"
            )

    def publish(self, rows: Iterable[manifest.Row], outcomes: Iterable[Outcome], record: dict[str, Any]) -> None:
        """Writes the manifest's `rows`, the digests of the files of `outcomes` and the `record` of the job, and puts
        all results in their places, the manifest last. After that the staging folder is gone.

        Raises OSError; then what was there before is there again.
        """
        self._file.close()
        for name in (_MANIFEST, _DIGESTS, _RECORD):
            files.remove(self.folder / name)
        manifest.write(self.folder / _MANIFEST, rows)
        written = {
            path: content
            for outcome in outcomes
            for path, content in zip(outcome.files(), outcome.contents, strict=True)
        }
        with (self.folder / _MANIFEST).open("rb") as table:
            digest = hashlib.file_digest(table, "sha256").hexdigest()
        lines = [digests.line(content.sha256, path) for path, content in written.items()]
        lines.append(digests.line(digest, layout.relative(self._output, layout.manifest(self._output, self._archive))))
        files.create(self.folder / _DIGESTS, "".join(lines).encode())
        results = soundness.describe(self.folder, self._archive, self.folder / _MANIFEST, written)
        text = json.dumps({**record, "results": results}, indent=2) + "\n"
        files.create(self.folder / _RECORD, text.encode())
        # All of it is on the disk before anything says so: after a power cut there are names without content.
        files.sync(self.folder)
        files.create(self.folder / _READY, b"")
        self.put_in_place()

    def put_in_place(self) -> None:
        """Moves what is staged and ready to its places, or what an interrupted job has not moved of it, and removes the
        staging folder. Raises OSError; then what was there before is there again."""
        self._put_in_place(self.folder)
        # All is done. What cannot be removed now, the end of the run removes.
        with contextlib.suppress(OSError):
            (self._parent / _FORCED).unlink(missing_ok=True)
            _remove_staged(self.folder)

    def _put_in_place(self, folder: Path) -> None:
        moved: list[tuple[Path, Path]] = []
        # The manifest first and last: where there is one, all of its results are there.
        ends = [(_MANIFEST, manifest.path(self._output, self._archive))]
        ends.append((_RECORD, manifest.record_path(self._output, self._archive)))
        others = [(f"{name}/{self._archive}", layout.results(self._output, name, self._archive)) for name in FOLDERS]
        others.append((_DIGESTS, layout.digests(self._output, self._archive)))
        try:
            for name, target in (*ends, *others):
                if (folder / name).exists():
                    self._set_aside(folder, target, name, moved)
            for name, target in (*others, *reversed(ends)):
                if (folder / name).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).replace(target)
                    moved.append((target, folder / name))
            files.sync(self._output)
        except BaseException:
            for at, back in reversed(moved):
                with contextlib.suppress(OSError):
                    at.replace(back)
            raise

    def _set_aside(self, folder: Path, target: Path, name: str, moved: list[tuple[Path, Path]]) -> None:
        """Keeps what is at `target` until all of the new results are in their places, and notes that in `moved`."""
        if not os.path.lexists(target):
            return
        aside = folder / _OLD / name
        files.remove(aside)
        aside.parent.mkdir(parents=True, exist_ok=True)
        target.replace(aside)
        moved.append((aside, target))


def force(output: Path, archive: str) -> None:
    """Has the next job of `archive` do it once more, from its beginning, whatever is there, and those after it until
    one has. To be called while no job is at work. Raises MachineError, OSError."""
    parent = layout.staging(output, archive)
    files.create(parent / _FORCED, b"")
    for folder in _keyed(parent):
        if not _is_half_in_place(folder, archive):
            _remove_staged(folder)


def forced(output: Path, archives: Iterable[str]) -> set[str]:
    """Those of `archives` that are still to be done once more, as `force` says."""
    root = layout.staging_folder(output)
    return {archive for archive in archives if os.path.lexists(root / archive / _FORCED)} if root.is_dir() else set()


def _remove_staged(folder: Path) -> None:
    # First, lest a journal promise files that are gone already.
    (folder / _JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _is_half_in_place(folder: Path, archive: str) -> bool:
    """Whether a job was killed while it put the results of `archive` that are staged in `folder` in the place of older
    ones."""
    parts = (_MANIFEST, _RECORD, _DIGESTS, *(f"{name}/{archive}" for name in FOLDERS))
    return (folder / _MANIFEST).exists() and any(os.path.lexists(folder / _OLD / part) for part in parts)


def _is_over(folder: Path) -> bool:
    """Whether nobody will carry on from what is staged in `folder`: it has been published, or has no journal, as what a
    kill has left of a folder that was being removed."""
    if (folder / _READY).exists():
        return not (folder / _MANIFEST).exists()
    return not (folder / _JOURNAL).exists()


def sweep(output: Path, live: Container[str] | None = None) -> None:
    """Removes from the folder `output` what is staged and no longer needed: what has been published, and, given all
    archives that there are in `live`, what is staged of others. What a running job uses stays."""
    root = layout.staging_folder(output)
    for parent in _staged_archives(root):
        archive = parent.relative_to(root).as_posix()
        gone = live is not None and archive not in live
        try:
            held = lock.acquire(parent / _LOCK)
        except lock.LockedError:
            continue
        with held:
            for folder in _keyed(parent):
                if gone or _is_over(folder):
                    _remove_staged(folder)
            if gone:
                (parent / _FORCED).unlink(missing_ok=True)
            if not _keyed(parent):
                (parent / _RESERVE).unlink(missing_ok=True)
                remove_with_empty_parents(parent / _LOCK, output)


def has_leftovers(output: Path) -> bool:
    """Whether there is something below the folder `output` for `sweep` to remove."""
    for parent in _staged_archives(layout.staging_folder(output)):
        with contextlib.suppress(PermissionError):  # somebody else's
            folders = _keyed(parent)
            if any(map(_is_over, folders)) or not (folders or os.path.lexists(parent / _FORCED)):
                return True
    return False


def _staged_archives(root: Path) -> Iterator[Path]:
    """The staging folders below `root`, links apart."""
    if files.is_folder(root):
        for folder, subfolders, names in os.walk(root):
            if _LOCK in names:
                subfolders[:] = [name for name in subfolders if not _KEY.fullmatch(name)]
                yield Path(folder)


def _keyed(parent: Path) -> list[Path]:
    """What is staged for an archive. Archives below it, of a time when it was no archive but a folder, are not."""
    return [path for path in parent.iterdir() if files.is_folder(path) and _KEY.fullmatch(path.name)]
