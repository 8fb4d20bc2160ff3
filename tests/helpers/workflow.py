"""The workflow in a folder, run by the real snakemake as a user runs it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from helpers.files import read_csv
from helpers.job import IMAGE_SIZE
from helpers.process_group import started
from helpers.project import ROOT, WEIGHTS

_STARTS = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")


class Workflow:
    """The workflow in a folder of its own.

    Rules that are `omitted`, and what follows from them, do not run: by default the pictures of the report and the
    exports, which take longer than the small archives of the tests.
    """

    def __init__(self, folder: Path, omitted: Sequence[str] = ("survey", "export_coco")) -> None:
        self.folder = folder
        self.omitted = omitted

    @classmethod
    def create(cls, folder: Path, **options: Any) -> Workflow:
        """Makes a new one in the empty `folder`."""
        for name in ("Snakefile", "config.yaml", "profiles", "workflow", "envs"):
            (folder / name).symlink_to(ROOT / name)
        return cls(folder, **options)

    @property
    def output(self) -> Path:
        """The folder of its results."""
        return self.folder / "output"

    @contextlib.contextmanager
    def start(
        self, *arguments: str, config: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Starts snakemake with `arguments`, and `config` over the tests' configuration, as the leader of a process
        group of its own; kills the group at the end of the `with` block."""
        command = [str(Path(sys.executable).parent / "snakemake"), *arguments]
        command += ["--omit-from", *self.omitted] if self.omitted else []
        command += ["--config"]
        command += [f"model={WEIGHTS}", f"image_size={IMAGE_SIZE}", *config]
        # As on a machine where nobody has activated the environment.
        environment = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin", **(env or {})}
        with started(command, environment, self.folder) as process:
            yield process

    def run(
        self, *arguments: str, config: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs snakemake as `start` does, to its end."""
        with self.start(*arguments, config=config, env=env) as process:
            output, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def jobs(self, *arguments: str, config: Sequence[str] = ()) -> dict[str, int]:
        """Runs snakemake and counts the jobs that it started, by rule; fails unless it succeeds."""
        result = self.run(*arguments, config=config)
        assert result.returncode == 0, result.stdout
        started = [line.split()[1].rstrip(":") for line in result.stdout.splitlines() if line.startswith(_STARTS)]
        return {rule: started.count(rule) for rule in dict.fromkeys(started) if rule != "all"}

    def manifest(self, archive: str) -> list[dict[str, str]]:
        """The manifest of an archive."""
        return read_csv(self.output / "manifests" / f"{archive}.csv")

    def summary(self) -> dict[str, dict[str, str]]:
        """The rows of the summary, by archive."""
        return {row["archive"]: row for row in read_csv(self.output / "summary.csv")}


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Waits until `condition` holds; fails if that takes longer than `seconds`, or `process` ends meanwhile."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
