"""The staging folder: where an archive's results grow until they are whole, and the journal of what is done.

It lies inside the output folder, on the same file system, so that publishing is renaming. It is keyed by everything
that decides the results; an interrupted job finds its own there and carries on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zipcrop import manifest
from zipcrop.errors import ZipcropError
from zipcrop.manifest import Outcome

FOLDERS = ("Person", "No_Person")


class Staging:
    """The staging folder of one archive."""

    def __init__(self, output: Path, archive: str, *key: str) -> None:
        """Below the folder `output`, for `archive`, keyed by the texts `key`. What was staged for the same archive
        under another key is removed."""
        self._output = output
        self._archive = archive
        self._parent = output / ".staging" / archive
        self.folder = self._parent / hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
        self._journal = self.folder / "journal.jsonl"
        for stale in self._parent.glob("*"):
            if stale != self.folder:
                shutil.rmtree(stale)
        for name in FOLDERS:
            (self.folder / name / archive).mkdir(parents=True, exist_ok=True)

    def resume(self) -> tuple[dict[int, Outcome], float]:
        """The outcomes of the members that are done, by index, and the seconds that they took."""
        done: dict[int, Outcome] = {}
        seconds = 0.0
        whole = 0
        if self._journal.exists():
            for line in self._journal.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break  # the line that was being written when the job was killed
                whole += len(line)
                entry = json.loads(line)
                outcome = Outcome.from_json(entry["outcome"])
                done[outcome.index] = outcome
                seconds = entry["seconds"]
            os.truncate(self._journal, whole)
        self._file = self._journal.open("a", encoding="utf-8")
        return done, seconds

    def record(self, outcome: Outcome, seconds: float) -> None:
        """Notes that a member is done and its files are written, `seconds` after the start of the work."""
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
        """Writes the manifest's `rows` and the `record` of the job, and moves all results to their places, the manifest
        last."""
        staged_record, staged_manifest = self.folder / "record.json", self.folder / "manifest.csv"
        staged_record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        manifest.write(staged_manifest, rows)
        self._file.close()
        self._journal.unlink()  # from here on it would promise files that have moved away
        for name in FOLDERS:
            _move(self.folder / name / self._archive, self._output / name / self._archive)
        _move(staged_record, manifest.record_path(self._output, self._archive))
        _move(staged_manifest, manifest.path(self._output, self._archive))
        remove_with_empty_parents(self._parent, self._output)


def _move(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


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
