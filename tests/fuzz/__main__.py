"""Tries mutated archives and images for as long as one likes; the package's docstring has the command.

Each input that fails is left in the folder `--save`, beside the reason in a text file; `--replay failures/*.bin` tries
them again. `--layers archive image` leaves whole jobs out; `--extra FOLDER` also mutates the archives and images of
that folder.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import random
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from archives import Entry, build

from fuzz import archive, job
from fuzz.common import SECONDS
from fuzz.image import Decoder
from fuzz.mutations import Edit, image_fields, mutate, with_right_checksums, zip_fields
from fuzz.seeds import archive_seeds, image_seeds
from helpers.files import read_csv
from helpers.job import CropJob
from helpers.project import SCRIPTS, WEIGHTS
from zipcrop.image import formats


class _Fuzzer:
    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._draw = random.Random(arguments.seed)
        self._save: Path = arguments.save
        self._layers: list[str] = arguments.layers
        self._folder = folder
        self._archives, self._images = list(archive_seeds()), list(image_seeds())
        for path in sorted(arguments.extra.rglob("*") if arguments.extra else ()):
            if path.suffix.lower() == ".zip":
                self._archives.append(_beginning_of(path))
                self._images += _members_of(path)
            elif path.is_file() and formats.has_image_suffix(path.name):
                self._images.append(path.read_bytes())
        self.tried: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}

    def run(self, seconds: float) -> None:
        """Tries inputs of all layers in turn."""
        end = time.monotonic() + seconds
        reported = time.monotonic()
        # A job takes seconds, an archive or image milliseconds.
        rounds = {"archive": 500, "image": 500, "job": 1}
        with Decoder() as decoder:
            while time.monotonic() < end:
                for layer in self._layers:
                    for _ in range(rounds[layer]):
                        if time.monotonic() < end:
                            self._try(layer, self._input(layer), decoder)
                if time.monotonic() - reported > 60:
                    reported = time.monotonic()
                    print(f"{dict(self.tried)} tried, {self.failures.total()} failures", flush=True)

    def replay(self, files: Sequence[Path]) -> None:
        """Tries what was saved."""
        with Decoder() as decoder:
            for file in files:
                self._try(file.name.split("-")[0], file.read_bytes(), decoder)

    def _input(self, layer: str) -> bytes:
        draw = self._draw
        if layer == "archive":
            seed, other = draw.choices(self._archives, k=2)
            return mutate(seed, self._edits(), zip_fields, other)
        if layer == "image":
            return self._image()
        return job.build_archive([self._image() for _ in range(40)], self._edits(), draw.randrange(1 << 16))

    def _image(self) -> bytes:
        seed, other = self._draw.choices(self._images, k=2)
        data = mutate(seed, self._edits(), image_fields, other)
        return with_right_checksums(data) if data.startswith(b"\x89PNG") and self._draw.random() < 0.8 else data

    def _edits(self) -> list[Edit]:
        draw = self._draw.randrange
        return [(draw(1 << 16), draw(1 << 16), draw(1 << 16), draw(1 << 16)) for _ in range(draw(1, 6))]

    def _try(self, layer: str, data: bytes, decoder: Decoder) -> None:
        self.tried[layer] += 1
        started = time.monotonic()
        try:
            if layer == "archive":
                outcome = archive.check(data, self._folder)
            elif layer == "image":
                outcome = decoder.check(data)
            else:
                outcome = self._job(data)
        except Exception as error:  # whatever it is, it is a finding
            what = f"{type(error).__name__}: {error}"
            digest = hashlib.sha256(data).hexdigest()[:12]
            self.failures[f"{layer}: {what.strip().splitlines()[-1][:150]}"] += 1
            self._save.mkdir(parents=True, exist_ok=True)
            (self._save / f"{layer}-{digest}.bin").write_bytes(data)
            (self._save / f"{layer}-{digest}.txt").write_text(traceback.format_exc(), errors="backslashreplace")
        else:
            self.outcomes[outcome] += 1
        self.slowest[layer] = max(self.slowest.get(layer, 0), time.monotonic() - started)

    def _job(self, data: bytes) -> str:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            return job.check(data, Path(name), "fuzzed", functools.partial(self._run_job, Path(name)))

    def _run_job(self, folder: Path, path: Path) -> list[dict[str, str]]:
        model = self._folder / "model.json"
        if not model.exists():
            prepare = [sys.executable, str(SCRIPTS / "prepare_model.py")]
            subprocess.run([*prepare, f"--weights={WEIGHTS}", f"--target={model}"], check=True)
        settings = {**job.SETTINGS, "decode": self._draw.choice(("exact", "fast"))}
        crop_job = CropJob(path, model, folder / "output", folder / "logs" / "log.txt", settings)
        done = subprocess.run(crop_job.command(), capture_output=True, text=True, timeout=10 * SECONDS)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return read_csv(folder / "output" / "manifests" / "fuzzed.csv")


def _beginning_of(path: Path, count: int = 3) -> bytes:
    """An archive of the first members of that at `path`, each as it is, but for its header."""
    with zipfile.ZipFile(path) as archive:
        return build([Entry(info.filename.encode(), archive.read(info)) for info in archive.infolist()[:count]])


def _members_of(path: Path, count: int = 10) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if formats.has_image_suffix(info.filename)]
        return [archive.read(info) for info in members[:: max(1, len(members) // count)][:count]]


def main() -> int:
    parser = argparse.ArgumentParser(description="Tries mutated archives and images.")
    parser.add_argument("--seconds", type=float, default=900, help="how long (default: 900)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument("--save", type=Path, default=Path("failures"), help="folder for inputs that fail")
    parser.add_argument("--layers", nargs="+", choices=("archive", "image", "job"), default=["archive", "image", "job"])
    parser.add_argument("--extra", type=Path, help="folder with archives and images to mutate, too")
    parser.add_argument("--replay", type=Path, nargs="+", help="saved inputs to try again, and nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = _Fuzzer(arguments, Path(folder))
        if arguments.replay:
            fuzzer.replay(arguments.replay)
        else:
            fuzzer.run(arguments.seconds)
    for outcome, count in fuzzer.outcomes.most_common():
        print(f"{count:8} {outcome}")
    slowest = {layer: round(seconds, 2) for layer, seconds in fuzzer.slowest.items()}
    print(f"tried: {dict(fuzzer.tried)}; slowest, in seconds: {slowest}; failures: {fuzzer.failures.total()}")
    for failure, count in fuzzer.failures.most_common():
        print(f"{count:8} {failure}")
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
