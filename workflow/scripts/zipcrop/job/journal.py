"""The journal of a job: which members are done, line by line, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from zipcrop.job import staged
from zipcrop.results import soundness
from zipcrop.results.manifest import Content, Outcome


class Journal:
    """The journal in a folder of staged results. Its first line names the start of the system at which it was begun."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / staged.JOURNAL
        self._file: IO[str] | None = None

    def resume(self) -> tuple[dict[int, Outcome], float]:
        """The outcomes of the members that are done, by index, and the seconds that they took. From then on, members
        may be recorded."""
        self._path.touch()
        done, seconds, whole = self._read()
        os.truncate(self._path, whole)
        self._file = self._path.open("a", encoding="utf-8")
        if not whole:
            self._write({"boot": soundness.boot()})
        return done, seconds

    def record(self, outcome: Outcome, seconds: float) -> None:
        """Notes that a member is done, `seconds` after the start of the work."""
        self._write({"seconds": round(seconds, 3), "outcome": outcome.to_json()})

    def close(self) -> None:
        """No more members will be recorded."""
        if self._file is not None:
            self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        assert self._file is not None  # since `resume`
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def _read(self) -> tuple[dict[int, Outcome], float, int]:
        """What `resume` gives, and the length of the whole lines in bytes."""
        done: dict[int, Outcome] = {}
        seconds = 0.0
        whole = 0
        boot = ""
        with self._path.open("rb") as lines:
            for line in lines:
                # A line that was being written when the job was killed or the power failed has no end, or is no JSON.
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
        """Whether all files of a member are there, in full. After a power cut the journal may be there without them:
        their lengths then prove nothing, and they are to be `read`."""
        written = list(zip(outcome.files(), outcome.contents, strict=False))
        if len(written) != len(outcome.files()):
            return False
        try:
            for file, content in written:
                path = self._folder / file
                if path.stat().st_size != content.size or (read and Content.of(path.read_bytes()) != content):
                    return False
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        return True
