"""One step of the check of the GPU path; `gpu_check.sh` runs them all, and says how.

usage: gpu_check.py STEP --out FOLDER --scratch FOLDER [--photos FOLDER] [--cpu]

A step writes FOLDER/STEP.json, also while it is at work. `table` writes all results into one table. It needs torch,
ultralytics, OpenCV, NumPy, psutil and YAML, and says what else is missing. Packages whose versions a crop job records,
and the driver's library for Python, are stood in for where they are not installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crop_jobs
import gpu_results
import photos
import pretended_gpu
from crop_jobs import CORES, ROOT, CropJob
from gpu_results import Result

if TYPE_CHECKING:
    import numpy as np

_REQUIRED = ("torch", "ultralytics", "cv2", "numpy", "psutil", "yaml")
_OPTIONAL = ("pynvml", "openvino", "pandas", "pycocotools", "pyarrow", "PIL", "pillow_heif", "jsonschema", "snakemake")
_RECORDED = ("numpy", "opencv-python-headless", "openvino", "torch", "ultralytics-opencv-headless")
"""The packages whose versions `zipcrop.job.entry.versions` records."""
_STAND_INS = "stand-ins"
_BUNDLED = ROOT / "demo" / "person-n.pt"


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    on_gpu: bool = True
    image_size: int = 640
    """For speed; the bundled detector is for 320."""
    parity_size: int = 320
    batch: int = 16
    batches: Sequence[int] = (4, 16, 32)
    repeats: int = 20
    sources: int = 96
    """Photos that are made where none are given."""
    small: int = 1000
    """Photos in an archive."""
    archives: int = 20
    many: int = 150
    """Small archives, of `few` photos."""
    few: int = 50
    large_sources: int = 8
    large: int = 100
    """Photos of 12 megapixels in an archive."""
    large_archives: int = 4
    decoded_large: int = 96
    seed_photos: int = 1000
    parity_photos: int = 150
    precision_photos: int = 16
    patience: float = 45.0
    """Seconds after which no more archives are started."""


REHEARSAL = Plan(
    on_gpu=False,
    image_size=320,
    batches=(2,),
    batch=4,
    repeats=1,
    sources=12,
    small=48,
    archives=3,
    many=3,
    few=6,
    large_sources=1,
    large=3,
    large_archives=2,
    decoded_large=4,
    seed_photos=16,
    parity_photos=24,
    precision_photos=2,
    patience=60.0,
)


@dataclass(frozen=True)
class Check:
    """What the steps share."""

    out: Path
    scratch: Path
    given: Path | None
    """The folder of archives."""
    plan: Plan

    @property
    def device(self) -> str:
        """As torch calls it."""
        return "cuda" if self.plan.on_gpu else "cpu"

    @property
    def model(self) -> Path:
        """The prepared model for speed."""
        return self.scratch / "speed" / "model.json"

    @property
    def parity_model(self) -> Path:
        """The prepared bundled detector."""
        return self.scratch / "parity" / "model.json"

    @property
    def weights(self) -> Path:
        """Those of the model for speed."""
        return self.scratch / "yolov8s.pt" if self.plan.on_gpu else _BUNDLED

    def archive(self, name: str) -> Path:
        """An archive that `prepare` has made: `small`, `few`, `large` or `seed`."""
        return self.scratch / "archives" / name / "photos0.zip"

    def photos(self, count: int) -> list[np.ndarray]:
        """The first photos, uint8 (H, W, 3) BGR, over and over."""
        found = []
        for photo in photos.decoded(self.archive("small")):
            found.append(photo)
            if len(found) == count:
                break
        return [found[number % len(found)] for number in range(count)]

    def pixels(self, shape: tuple[int, int], count: int) -> list[np.ndarray]:
        """Photos stretched to `shape` (height, width)."""
        from gpu_network import pixels_of

        return pixels_of(self.photos(count), shape, count)

    def job(self, archive: str, zip_path: Path, output: str, **options: Any) -> CropJob:
        """The crop job of an archive for the speed model, on the GPU. `options` are those of `CropJob`."""
        settings = {"device": "cuda", "image_size": self.plan.image_size, **options.pop("settings", {})}
        place = self.scratch / output
        options.setdefault("threads", CORES)
        model = options.pop("model", self.model)
        return CropJob(archive, zip_path, model, place / "output", place / "logs", settings=settings, **options)


def prepare(check: Check, result: Result) -> None:
    """Makes stand-ins, weights, prepared models and archives."""
    plan = check.plan
    missing = [name for name in _REQUIRED if importlib.util.find_spec(name) is None]
    result.check("packages that it needs are there", missing or "all", not missing)
    import torch  # before ultralytics, which would hold it to one thread

    torch.set_num_threads(CORES)
    result.figure("stood in for", stand_in(check.scratch / _STAND_INS, plan.on_gpu) or "nothing")
    sources = _sources(check)
    result.figure("photos", f"{len(sources)} {'given' if check.given else 'made'}")
    folder = check.scratch / "archives"
    for name, count in (("small", plan.small), ("few", plan.few), ("parity", plan.parity_photos)):
        photos.write_archives(sources, folder / name, 1, count)
    photos.write_archives(sources, folder / "seed", CORES, plan.seed_photos)
    crop_jobs.prepare(_BUNDLED, check.parity_model.parent)
    if plan.on_gpu:
        import random_weights

        share = random_weights.write(check.weights, check.photos(24), plan.image_size)
        result.figure("weights for speed", f"yolov8s, random, 'people' in {share:.0%} of the photos")
    else:
        result.figure("weights for speed", "the bundled detector, to rehearse")
    crop_jobs.prepare(check.weights, check.model.parent, 80 if plan.on_gpu else 1)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(CORES) as executor:
        each = executor.map(lambda source: photos.large([source], 1)[0], sources[: plan.large_sources])
        large = list(each)
    photos.write_archives(large, folder / "large", 1, plan.large)
    photos.write_archives(large, folder / "decoded-large", 1, plan.decoded_large)


def stand_in(folder: Path, on_gpu: bool) -> list[str]:
    """Writes stand-ins into `folder` for what is missing, and for the GPU itself unless it is there; gives their
    names."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for package in _RECORDED:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            place = folder / f"{package.replace('-', '_')}-0.dist-info"
            place.mkdir(exist_ok=True)
            (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0\n")
            made.append(package)
    if not on_gpu:
        pretended_gpu.environment(folder, "cpu")
        made.append("the GPU")
    elif importlib.util.find_spec("pynvml") is None:
        listed = subprocess.run(_nvidia_smi("uuid"), capture_output=True, text=True, check=True).stdout
        pretended_gpu.write_driver(folder, listed.split())
        made.append("pynvml")
    return made


def _nvidia_smi(query: str) -> list[str]:
    return ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]


def _sources(check: Check) -> list[bytes]:
    if check.given:
        return photos.given(check.given)[: 400 if check.plan.on_gpu else check.plan.sources]
    try:
        return photos.made(check.plan.sources)
    except (FileNotFoundError, AssertionError):  # ultralytics without its pictures
        return photos.noise(check.plan.sources)


def facts(check: Check, result: Result) -> None:
    """Step 0: the machine."""
    import torch

    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    result.figure("CPU", f"{CORES} cores, {cpu[0].split(':')[1].strip() if cpu else '?'}, {memory / 2**30:.0f} GiB")
    for query in ("name", "driver_version", "memory.total", "compute_mode", "persistence_mode"):
        if check.plan.on_gpu:
            said = subprocess.run(_nvidia_smi(query), capture_output=True, text=True)
            result.figure(f"GPU, {query}", said.stdout.strip() or said.stderr.strip()[-200:])
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else "none"
    result.figure("torch", f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    result.figure("zipcrop", commit.stdout.strip() or "?")
    result.figure("Python", f"{sys.version.split()[0]}, kernel {os.uname().release}")
    for package in ("numpy", "opencv-python-headless", "ultralytics-opencv-headless"):
        result.figure(package, importlib.metadata.version(package))
    missing = [name for name in (*_REQUIRED, *_OPTIONAL) if importlib.util.find_spec(name) is None]
    result.figure("not installed", missing or "nothing")
    if check.plan.on_gpu:
        result.check("torch can use the GPU", torch.cuda.is_available(), torch.cuda.is_available())
    else:
        result.skip("GPU, driver, compute and persistence mode", "no GPU")


def table(check: Check) -> None:
    """Writes `table.md` and `results.json`, and prints the table."""
    results = gpu_results.read(check.out)
    head = "" if check.plan.on_gpu else "A rehearsal on a CPU, on tiny work: no figure means anything.\n\n"
    text = head + gpu_results.table(results) + "\n"
    (check.out / "table.md").write_text(text, encoding="utf-8")
    content = json.dumps(results, indent=1, ensure_ascii=False)
    (check.out / "results.json").write_text(content + "\n", encoding="utf-8")
    print(f"\n{text}")


def steps() -> dict[str, Callable[[Check, Result], None]]:
    """By name. Those that need torch import it only now."""
    import gpu_failures
    import gpu_jobs
    import gpu_persons

    def lazily(name: str) -> Callable[[Check, Result], None]:
        def step(check: Check, result: Result) -> None:
            import gpu_network

            getattr(gpu_network, name)(check, result)

        return step

    return {
        "prepare": prepare,
        "facts": facts,
        "decoding": gpu_jobs.decoding_alone,
        "start": gpu_jobs.start,
        "rectangles": lazily("rectangles"),
        "correctness": lazily("correctness"),
        "tf32": lazily("tf32"),
        "archives": gpu_jobs.archives,
        "small_large": gpu_jobs.small_large,
        "failures": gpu_failures.failures,
        "parity": gpu_persons.parity,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*gpu_results.STEPS, "table", "owner", "hog"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="folder of ZIP archives; made if not given")
    parser.add_argument("--cpu", action="store_true", help="rehearse without a GPU, on tiny work")
    parser.add_argument("--job", type=json.loads, help="of `owner`: archive, zip and output")
    parser.add_argument("--leave", type=int, default=700 << 20, help="of `hog`: bytes that it leaves free")
    options = parser.parse_args(arguments)
    check = Check(options.out, options.scratch, options.photos, REHEARSAL if options.cpu else Plan())
    if options.step == "table":
        table(check)
    elif options.step == "owner":
        job = check.job(options.job["archive"], Path(options.job["zip"]), options.job["output"])
        (finished,) = crop_jobs.run_all([job])
        print(json.dumps(dataclasses.asdict(finished)))
    elif options.step == "hog":
        import gpu_network

        gpu_network.hog(options.leave)
    else:
        return _run(check, options.step)
    return 0


def _run(check: Check, step: str) -> int:
    """Runs a step; gives 0 unless it failed."""
    check.out.mkdir(parents=True, exist_ok=True)
    result = Result(step, check.out / f"{step}.json")
    result.save()
    try:
        steps()[step](check, result)
    except Exception as error:
        result.check("the step came to its end", f"{type(error).__name__}: {error}"[-500:], holds=False)
        result.finish()
        raise
    finally:
        if step not in ("prepare", "facts"):
            crop_jobs.end_engines()
    result.finish()
    return int(result.verdict == "FAIL")


if __name__ == "__main__":
    sys.exit(main())
