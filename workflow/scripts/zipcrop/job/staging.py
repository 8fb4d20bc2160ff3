"""The staging folder: an archive's results grow there until they are whole, and are published from there.

It lies inside the output folder, on the same file system, so that publishing is renaming. Its key is made of everything
that decides the results, so that the next job finds what an interrupted one has done, and carries on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipcrop import files
from zipcrop.errors import MachineError, ZipcropError
from zipcrop.files import remove_with_empty_parents
from zipcrop.job import staged
from zipcrop.job.journal import Journal
from zipcrop.process import lock
from zipcrop.results import digests, layout, manifest, soundness
from zipcrop.results.layout import FOLDERS

if TYPE_CHECKING:
    from zipcrop.results.manifest import Outcome

_RESERVE_SIZE = 1 << 20  # bytes


class Staging:
    """The staging folder of one archive, locked against other jobs. Use it in a `with` statement."""

    def __init__(self, output: Path, archive: str, *key: str) -> None:
        """Opens the folder of `archive` below the folder `output`, for the texts `key`, and removes results of this
        archive that were staged under another key.

        Raises MachineError if another job works on the archive, or if a link leads out of the output folder; OSError if
        the disk is full.
        """
        self._output = output
        self._archive = archive
        self._parent = layout.staging(output, archive)
        try:
            self._lock = lock.acquire(self._parent / staged.LOCK)
        except lock.LockedError as error:
            raise MachineError(
                f"another job ({error}) is at work on {archive} in {output}; wait until it has ended, or end it, "
                "and run again"
            ) from None
        self.folder = self._parent / hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
        self._journal = Journal(self.folder)
        for stale in staged.keyed(self._parent):
            if stale != self.folder:
                if staged.is_half_in_place(stale, archive):
                    # Parts of the old and of the new results are mixed. The new ones are whole, so they are put in
                    # place.
                    self._put_in_place(stale)
                staged.remove(stale)
        self._reserve = self._parent / staged.RESERVE
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
        with contextlib.suppress(OSError):  # a full disk, which somebody has been told of
            self._journal.close()
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
            if not staged.keyed(self._parent) and not self.is_forced():
                remove_with_empty_parents(self._parent / staged.LOCK, self._output)
        self._lock.close()

    def is_forced(self) -> bool:
        """Whether the archive has to be done once more, even if its results are sound (see `staged.force`)."""
        return os.path.lexists(self._parent / staged.FORCED)

    def is_ready(self) -> bool:
        """Whether an interrupted job had staged all results, and was putting them in their places."""
        return (self.folder / staged.READY).is_file()

    def resume(self) -> tuple[dict[int, Outcome], float]:
        """The outcomes of the members that are done, by index, and the seconds that they took."""
        for name in FOLDERS:
            (self.folder / name / self._archive).mkdir(parents=True, exist_ok=True)
        return self._journal.resume()

    def record(self, outcome: Outcome, seconds: float) -> None:
        """Notes that a member is done and its files are written, `seconds` after the start of the work. A member that
        is to be tried again is left out."""
        if not outcome.again:
            self._journal.record(outcome, seconds)

    def check_files(self, outcomes: Iterable[Outcome]) -> None:
        """Removes staged files that are not in `outcomes`, such as a killed worker leaves. Raises ZipcropError if a
        file is missing or has another length than what was written."""
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
        all results in their places, the manifest last. Then it removes the staging folder.

        Raises OSError; then the old results are back in their places.
        """
        self._journal.close()
        for name in (staged.MANIFEST, staged.DIGESTS, staged.RECORD):
            files.remove(self.folder / name)
        manifest.write(self.folder / staged.MANIFEST, rows)
        written = {
            path: content
            for outcome in outcomes
            for path, content in zip(outcome.files(), outcome.contents, strict=True)
        }
        with (self.folder / staged.MANIFEST).open("rb") as table:
            digest = hashlib.file_digest(table, "sha256").hexdigest()
        lines = [digests.line(content.sha256, path) for path, content in written.items()]
        lines.append(digests.line(digest, layout.relative(self._output, layout.manifest(self._output, self._archive))))
        files.create(self.folder / staged.DIGESTS, "".join(lines).encode())
        results = soundness.describe(self.folder, self._archive, self.folder / staged.MANIFEST, written)
        text = json.dumps({**record, "results": results}, indent=2) + "\n"
        files.create(self.folder / staged.RECORD, text.encode())
        # All of it is on the disk before a file says so: a power cut leaves names without content.
        files.sync(self.folder)
        files.create(self.folder / staged.READY, b"")
        self.put_in_place()

    def put_in_place(self) -> None:
        """Moves the staged results to their places, as far as an interrupted job has not done so, and removes the
        staging folder. Raises OSError; then the old results are back in their places."""
        self._put_in_place(self.folder)
        # The results are published. If something cannot be removed now, the end of the run does it.
        with contextlib.suppress(OSError):
            (self._parent / staged.FORCED).unlink(missing_ok=True)
            staged.remove(self.folder)

    def _put_in_place(self, folder: Path) -> None:
        moved: list[tuple[Path, Path]] = []
        # The manifest first and last: where there is one, all of its results are there.
        ends = [(staged.MANIFEST, layout.manifest(self._output, self._archive))]
        ends.append((staged.RECORD, layout.record(self._output, self._archive)))
        others = [(f"{name}/{self._archive}", layout.results(self._output, name, self._archive)) for name in FOLDERS]
        others.append((staged.DIGESTS, layout.digests(self._output, self._archive)))
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
        """Keeps an old result, at `target`, until all new ones are in their places, and notes its move in `moved`."""
        if not os.path.lexists(target):
            return
        aside = folder / staged.OLD / name
        files.remove(aside)
        aside.parent.mkdir(parents=True, exist_ok=True)
        target.replace(aside)
        moved.append((aside, target))
