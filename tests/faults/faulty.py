"""Crop jobs with one disturbed call to the system.

`faulty_calls.c` does it: a library that is loaded into the job, and into its workers, before libc.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.files import make_zip
from helpers.job import CropJob
from helpers.photos import encoded
from helpers.process_group import started
from helpers.project import SCRIPTS

_HERE = Path(__file__).resolve().parent
# A job takes one; a machine that has other work to do may need some.
_SECONDS = 120
# `struct shared` in faulty_calls.c is smaller.
_COUNTER_SIZE = 8192


class UnavailableError(Exception):
    """Something that the tests need is not on this machine; the message says what, and how to get it."""


def build(folder: Path) -> Path:
    """The library, compiled into `folder`. Raises UnavailableError where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        raise UnavailableError("calls are disturbed on Linux alone, by a library in C: install gcc and libc6-dev")
    library = folder / "faulty_calls.so"
    flags = ["-shared", "-fPIC", "-O2", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", library, _HERE / "faulty_calls.c", "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """The call to be disturbed: see `faulty_calls.c`."""

    calls: str
    """`changes`, `writes` or `reads`."""
    how: str
    at: int
    """From 1; with 0 none is disturbed."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    status: int | None
    """Negative if it was killed; None if it had to be, since it hung."""
    said: str
    """What it wrote to the terminal."""
    calls: int
    """How many of the calls that were asked for there were."""
    struck: str
    """Name and path of the disturbed call; empty if none was."""

    def sentence(self) -> str:
        """The only sentence of a job that failed as it should; fails if there is none, or more."""
        lines = [line for line in self.said.splitlines() if not line.startswith("photos: ")]
        last = f"does not fail with one sentence, but says in the end: {''.join(lines[-1:])}"
        assert len(lines) == 1, last
        assert lines[0].startswith("zipcrop: error: "), last
        assert "unexpected" not in lines[0], last
        assert "report this bug" not in lines[0], last
        return lines[0].removeprefix("zipcrop: error: ")


@dataclass(frozen=True)
class Bench:
    """An archive with one member of each kind, and the detector, for jobs to run on."""

    library: Path
    zip: Path
    model: Path

    @classmethod
    def create(cls, folder: Path, model: Path) -> Bench:
        """One whose archive and library are in `folder`. Raises UnavailableError where there is no compiler."""
        members = [
            ("bus.jpg", encoded("bus", scale=0.3)),
            ("sub/zidane.jpg", encoded("zidane", scale=0.3)),
            ("empty.jpg", encoded("empty")),
            ("broken.jpg", encoded("bus", scale=0.3)[:2000]),
            ("notes.txt", b"no photo"),
        ]
        path = make_zip(folder / "photos.zip", members)
        return cls(build(folder), path, model)

    def on(self, zip: Path) -> Bench:
        """The same with another archive."""
        return replace(self, zip=zip)

    def crop(self, folder: Path, settings: dict[str, Any], fault: Fault | None = None) -> Ended:
        """Runs a job whose output is in `folder`, with `settings` over the tests', to its end."""
        output = folder / "output"
        counter = folder / "counter"
        counter.write_bytes(bytes(_COUNTER_SIZE))
        env = {}
        if fault is not None:
            env = {
                "LD_PRELOAD": str(self.library),
                "FAULT_COUNTER": str(counter),
                "FAULT_CALLS": fault.calls,
                "FAULT_PLACE": str((self.zip if fault.calls == "reads" else output).resolve()),
                "FAULT_AT": str(fault.at),
                "FAULT_HOW": fault.how,
            }
        with self.start(output, folder / "photos.log", settings, env) as process:
            status = None
            try:
                said, _ = process.communicate(timeout=_SECONDS)
                status = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said, _ = process.communicate()
        return Ended(status, said, *_counted(counter))

    @contextlib.contextmanager
    def start(
        self, output: Path, log: Path, settings: dict[str, Any], env: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Starts a job as the leader of a process group of its own, and kills the rest of the group at the end."""
        job = CropJob(self.zip, self.model, output, log, settings)
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), **(env or {})}
        with started(job.command(_HERE / "crop_job.py"), environment) as process:
            yield process


def _counted(counter: Path) -> tuple[int, str]:
    data = counter.read_bytes()
    return int.from_bytes(data[:8], sys.byteorder), data[8:].split(b"\0", 1)[0].decode(errors="replace")
