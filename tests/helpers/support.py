"""What tests build on: photos, archives made of them, and the workflow as a user runs it."""

from __future__ import annotations

import contextlib
import csv
import functools
import importlib.util
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "demo" / "person-n.pt"
IMAGE_SIZE = 320
SETTINGS = {
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


@functools.cache
def photo(name: str) -> np.ndarray:
    """A photo that ultralytics ships, `bus` or `zidane`, with people in it; or `empty`, one without."""
    if name == "empty":
        return np.tile(np.linspace(60, 200, 320, dtype=np.uint8)[None, :, None], (240, 1, 3))
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.submodule_search_locations
    image = cv2.imread(str(Path(spec.submodule_search_locations[0], "assets", f"{name}.jpg")))
    assert image is not None
    return image


def encoded(name: str, suffix: str = ".jpg", scale: float = 0.5) -> bytes:
    """A photo as a file's bytes."""
    image = cv2.resize(photo(name), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(suffix, image)[1].tobytes()


def make_zip(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """An archive of `members`, names and contents; the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return path


def flip(path: Path, size: int = 4096) -> None:
    """Flips bits in the middle of a file, which keeps its size and its times, as on a disk that goes bad."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + size] = bytes(byte ^ 0xFF for byte in data[middle : middle + size])
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def read_csv(path: Path) -> list[dict[str, str]]:
    """A table that the product wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Python imports a module of this name by itself, in every process, where it finds it on the path.
_GUARD = """
import os, socket

def refuse(*arguments, **options):
    with open(os.environ["NETWORK_USED"], "a") as file:
        print(os.getpid(), arguments, file=file)
    raise OSError("no network in tests")

class Guarded(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            refuse("connect", address)
        super().connect(address)

    connect_ex = connect

socket.socket = Guarded
socket.getaddrinfo = socket.gethostbyname = refuse
"""


_PATCH = """
import importlib.abc, importlib.machinery, os, sys

{patch}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "{module}":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def patched_everywhere(folder: Path, module: str, patch: str) -> dict[str, str]:
    """An environment in whose Python processes `module`, once imported, is handed to the function `patch(module)`, of
    which `patch` is the code; `os` and `sys` are there for it. What makes it so is put into the new `folder`."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(_PATCH.format(module=module, patch=patch))
    return {"PYTHONPATH": str(folder)}


def without_network(folder: Path) -> dict[str, str]:
    """An environment whose Python processes cannot use the network, and write each try into the file
    `folder / "network_used"`."""
    guard = folder / "guard"
    guard.mkdir(parents=True)
    (guard / "sitecustomize.py").write_text(_GUARD)
    return {"PYTHONPATH": str(guard), "NETWORK_USED": str(folder / "network_used")}


class Workflow:
    """The workflow in a folder of its own, run by the real snakemake. Rules that are `omitted`, and what follows from
    them, do not run: by default what the report shows and exports, which take longer than the tests' small archives."""

    def __init__(self, folder: Path, omitted: Sequence[str] = ("survey", "export_coco")) -> None:
        self.folder = folder
        self.omitted = omitted

    @classmethod
    def create(cls, folder: Path, **options: Any) -> Workflow:
        """A new one in the empty `folder`."""
        for name in ("Snakefile", "config.yaml", "profiles", "workflow", "envs"):
            (folder / name).symlink_to(ROOT / name)
        return cls(folder, **options)

    @contextlib.contextmanager
    def start(
        self, *arguments: str, config: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Starts snakemake with `arguments`, and `config` over the tests' configuration, as the leader of a process
        group of its own; kills them all at the end of the `with` block."""
        command = [str(Path(sys.executable).parent / "snakemake"), *arguments]
        command += ["--omit-from", *self.omitted] if self.omitted else []
        command += ["--config"]
        command += [f"model={WEIGHTS}", f"image_size={IMAGE_SIZE}", *config]
        # As on a machine where nobody has activated the environment.
        environment = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin", **(env or {})}
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Whoever runs the tests in the background may have it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def run(
        self, *arguments: str, config: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs snakemake as `start` does, to its end."""
        with self.start(*arguments, config=config, env=env) as process:
            output, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def jobs(self, *arguments: str, config: Sequence[str] = ()) -> dict[str, int]:
        """Runs snakemake, and counts the jobs that it started, by rule; fails unless it succeeds."""
        result = self.run(*arguments, config=config)
        assert result.returncode == 0, result.stdout
        started = [line.split()[1].rstrip(":") for line in result.stdout.splitlines() if line.startswith(_STARTS)]
        return {rule: started.count(rule) for rule in dict.fromkeys(started) if rule != "all"}

    def manifest(self, archive: str) -> list[dict[str, str]]:
        return read_csv(self.folder / "output" / "manifests" / f"{archive}.csv")

    def summary(self) -> dict[str, dict[str, str]]:
        return {row["archive"]: row for row in read_csv(self.folder / "output" / "summary.csv")}


def contents(workflow: Workflow) -> dict[str, object]:
    """All results, but for what tells how long they took."""
    output = workflow.folder / "output"
    passed_over = (".snakemake_timestamp", "summary.csv", ".lock")
    files: dict[str, object] = {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.suffix != ".json" and path.name not in passed_over
    }
    files["summary.csv"] = [
        {column: value for column, value in row.items() if column not in ("seconds", "images_per_second")}
        for row in read_csv(output / "summary.csv")
    ]
    return files


def journalled(workflow: Workflow) -> int:
    """How many members are noted as done but not yet published."""
    journals = (workflow.folder / "output").rglob("journal.jsonl")
    return sum(max(0, len(path.read_bytes().splitlines()) - 1) for path in journals)  # the first line is a head


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Waits until `condition` holds; fails if that takes longer than `seconds`, or `process` ends meanwhile."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)


_STARTS = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")
