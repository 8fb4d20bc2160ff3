"""Crop jobs, started as the rule `crop_archive` starts them; and the engine processes that they leave running.

Needs no package beyond those of the job itself and YAML, so that it works where Snakemake is not installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from zipcrop.archive import source
from zipcrop.detect.lease import SCRIPT, Start
from zipcrop.detect.model import Model
from zipcrop.settings import Speed

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
CORES = len(os.sched_getaffinity(0))
ARCHIVES_PER_GPU = 3
"""As in `workflow/rules/resources.smk`, like the next two."""
SMALL_BYTES, SMALL_CORES = 32_000_000, 2
_INTERVAL = 0.02


def defaults() -> dict[str, Any]:
    """The schema's default of each setting, by its name, such as `crop.padding`."""
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    groups = [("", schema)]
    while groups:
        prefix, group = groups.pop()
        for name, setting in group["properties"].items():
            if "properties" in setting:
                groups.append((f"{prefix}{name}.", setting))
            else:
                found[prefix + name] = setting["default"]
    return found


@dataclass(frozen=True)
class CropJob:
    """The crop job of one archive."""

    archive: str
    """Its id, by which its results are called."""
    zip: Path
    model: Path
    """JSON of the prepared model."""
    output: Path
    logs: Path
    """Folder of its log, and of those of engine processes."""
    threads: int = CORES
    gpus: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from their defaults, also those that change speed alone."""

    @property
    def log(self) -> Path:
        """What it logs."""
        return self.logs / "crop" / f"{self.archive}.log"

    @property
    def engine_logs(self) -> Path:
        """Folder of the logs of engine processes."""
        return self.logs / "engine"

    @property
    def manifest(self) -> Path:
        """The manifest that it writes."""
        return self.output / "manifests" / f"{self.archive}.csv"

    def command(self) -> list[str]:
        """Its command line."""
        values = {**defaults(), **self.settings}
        speed = {each.name: values.pop(each.name) for each in dataclasses.fields(Speed)}
        options = {
            "archive": self.archive,
            "zip": self.zip,
            "fingerprint": source.at(str(self.zip)).fingerprint(),
            "model": self.model,
            "output": self.output,
            "settings": json.dumps(values),
            "speed": json.dumps(speed),
            "threads": self.threads,
            "gpus": self.gpus,
            "engine-logs": self.engine_logs,
            "log": self.log,
        }
        return [
            sys.executable,
            str(SCRIPTS / "crop_archive.py"),
            *(f"--{key}={value}" for key, value in options.items()),
        ]


@dataclass(frozen=True)
class Finished:
    """A job that has ended."""

    archive: str
    started: float
    """Seconds after the first job was started; like `ended`."""
    ended: float
    status: int
    output: str
    """The last of what it wrote to the terminal."""


def prepare(weights: Path, folder: Path, classes: int = 1) -> Path:
    """A prepared model's JSON in `folder`, for the torch engine and GPUs alone: nothing is converted, so that OpenVINO
    need not be there. The weights, whose first of `classes` is the person, are not checked."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    shutil.copyfile(weights, folder / "weights.pt")
    for name in ("openvino.xml", "openvino.bin"):
        (folder / name).write_bytes(b"none")
    names = ["person", *map(str, range(1, classes))]
    model = Model(digest, weights.name, "detect", names, 0, 32, "weights.pt", "openvino.xml")
    model.write(folder / "model.json")
    return folder / "model.json"


def threads_per_archive(zip_bytes: int, archives: int, cores: int = CORES, gpus: int = 1) -> int:
    """The cores that the rule gives an archive of `zip_bytes` where there is a GPU; see `cores_per_archive` there."""
    at_once = max(1, min(ARCHIVES_PER_GPU * gpus, archives))
    share = max(1, cores // at_once)
    return min(SMALL_CORES, share) if archives > at_once and zip_bytes < SMALL_BYTES else share


def run_all(
    jobs: Sequence[CropJob],
    environment: Mapping[str, str] | None = None,
    cores: int = CORES,
    patience: float = math.inf,
) -> list[Finished]:
    """Runs `jobs` as Snakemake would: as many at once as there are cores for, and this process is their parent. Gives
    them in the order in which they ended. After `patience` seconds no more are started. All are killed if this process
    is interrupted."""
    waiting = list(jobs)
    running: list[tuple[CropJob, float, subprocess.Popen[str]]] = []
    finished: list[Finished] = []
    began = time.monotonic()
    try:
        while waiting or running:
            if time.monotonic() - began > patience:
                waiting.clear()
            while waiting and (
                not running or sum(job.threads for job, *_ in running) + waiting[0].threads <= max(cores, 1)
            ):
                job = waiting.pop(0)
                running.append((job, time.monotonic() - began, start(job, environment)))
            for entry in list(running):
                job, started, process = entry
                if process.poll() is not None:
                    running.remove(entry)
                    said = process.communicate()[0]
                    ended = time.monotonic() - began
                    finished.append(Finished(job.archive, started, ended, process.returncode, said[-500:]))
            time.sleep(_INTERVAL)
    finally:
        for _, _, process in running:
            process.kill()
            process.wait()
    return finished


def start(job: CropJob, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts the job, with `environment` on top of this process's. What it says has room in a pipe."""
    return subprocess.Popen(
        job.command(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def engine_processes(owner: int | None = None) -> list[psutil.Process]:
    """The engine processes whose run is that of the process `owner`; by default of this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError, KeyError, ValueError):
            command = process.cmdline()
            if str(SCRIPT) in command and Start.parse(command[-1]).run.owner.pid == (owner or os.getpid()):
                found.append(process)
    return found


def end_engines(how: signal.Signals = signal.SIGTERM) -> None:
    """Ends the engine processes of this process's jobs, so that the next job starts from cold."""
    processes = engine_processes()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
