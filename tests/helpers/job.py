"""The crop job of one archive: called in this process, or as the command that the rule runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.files import read_csv
from helpers.project import SCRIPTS
from zipcrop.archive import source
from zipcrop.job import entry, run
from zipcrop.job.task import Job
from zipcrop.settings import Settings, Speed

if TYPE_CHECKING:
    import pytest

Rows = list[dict[str, str]]
"""A manifest."""
IMAGE_SIZE = 320
SETTINGS: dict[str, Any] = {
    "image_size": IMAGE_SIZE,
    "precision": "f32",
    "decode": "exact",
    "confidence": 0.25,
    "iou": 0.7,
    "max_detections": 300,
    "crop.padding": 0,
    "crop.min_size": 2,
    "crop.format": "jpg",
    "crop.quality": 95,
    "limits.member_mb": 256,
    "limits.megapixels": 100,
    "limits.members": 1000000,
    "limits.seconds": 120,
}
"""Settings that change results, flat."""
SPEED: dict[str, Any] = {"device": "cpu", "engine": "openvino", "batch": 16, "workers": 1, "gpus_per_archive": 1}


@dataclass(frozen=True)
class CropJob:
    """A crop job of the archive at `zip`, whose results go into the folder `output`."""

    zip: Path
    model: Path
    """JSON of the prepared model."""
    output: Path
    log: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those that differ from SETTINGS."""
    speed: Mapping[str, Any] = field(default_factory=dict)
    """Those that differ from SPEED."""
    threads: int = 2
    gpus: int = 1

    @property
    def engine_logs(self) -> Path:
        """Folder of the logs of engine processes."""
        return self.log.parent / "engine"

    @property
    def archive(self) -> str:
        """The archive's name."""
        return self.zip.stem

    @property
    def fingerprint(self) -> str:
        """The archive's, now."""
        return source.at(str(self.zip)).fingerprint()

    def job(self) -> Job:
        """The job for `run.run`, in this process."""
        return Job(
            archive=self.archive,
            zip=str(self.zip),
            fingerprint=self.fingerprint,
            model=self.model,
            output=self.output,
            log=self.log,
            settings=Settings.from_flat({**SETTINGS, **self.settings}),
            speed=Speed(**{**SPEED, **self.speed}),
            threads=self.threads,
            engine_logs=self.engine_logs,
            gpus=self.gpus,
        )

    def arguments(self) -> list[str]:
        """The arguments of the script `crop_archive.py`."""
        options = {
            "archive": self.archive,
            "zip": self.zip,
            "fingerprint": self.fingerprint,
            "model": self.model,
            "output": self.output,
            "log": self.log,
            "settings": json.dumps({**SETTINGS, **self.settings}),
            "speed": json.dumps({**SPEED, **self.speed}),
            "threads": self.threads,
            "gpus": self.gpus,
            "engine-logs": self.engine_logs,
        }
        return [f"--{option}={value}" for option, value in options.items()]

    def command(self, script: Path = SCRIPTS / "crop_archive.py") -> list[str]:
        """The command line of the job, as the rule has it."""
        return [sys.executable, str(script), *self.arguments()]


@dataclass(frozen=True)
class Crop:
    """Runs crop jobs whose results and logs are in `folder`."""

    folder: Path
    model: Path
    """JSON of the prepared model."""

    def __call__(self, zip_path: Path, output: str = "output", **options: Any) -> Rows:
        """Runs the job of an archive in this process and reads its manifest. Options are those of `job`."""
        job = self.job(zip_path, output, **options)
        run.run(job.job())
        return read_csv(job.output / "manifests" / f"{job.archive}.csv")

    def job(self, zip_path: Path, output: str = "output", **options: Any) -> CropJob:
        """The job of an archive. `options` are speed options by their names, and settings with `__` for a dot."""
        speed = {key: options.pop(key) for key in SPEED if key in options}
        settings = {key.replace("__", "."): value for key, value in options.items()}
        log = self.folder / "logs" / f"{zip_path.stem}.log"
        return CropJob(zip_path, self.model, self.folder / output, log, settings, speed)


def replace_workers(monkeypatch: pytest.MonkeyPatch, main: Callable[..., None]) -> None:
    """Makes the workers of crop jobs run `main`, a function of a module, in place of `entry.main`."""
    monkeypatch.setattr(entry, "main", main)
