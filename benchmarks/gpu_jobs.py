"""The steps of `gpu_check.py` that run crop jobs, and what they are measured against."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crop_jobs
import decoding
from crop_jobs import CORES, ROOT
from gpu_persons import persons_in

if TYPE_CHECKING:
    from gpu_check import Check
    from gpu_results import Result


_START = """
import sys, time
started = time.perf_counter()
from zipcrop.detect import cuda, network, pytorch
from zipcrop.detect.model import Model
import json, numpy as np, torch
times = {"import": time.perf_counter() - started}
def lap(name):
    now = time.perf_counter()
    times[name] = now - started - sum(times.values())
model, size, on = Model.read(__import__("pathlib").Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
hardware = cuda.CUDA() if on == "cuda" else cuda.CPU()
torch.zeros(1, device=on)
lap("context")
detector = pytorch.Detector(model, torch.device(on), torch.float16 if on == "cuda" else torch.float32)
lap("load")
loaded = network.Network(detector, size, 16, hardware)
photo = np.full((size, size, 3), 114, np.uint8)
loaded.finish(loaded.start([photo]))
lap("first shape")
loaded.finish(loaded.start([photo]))
times["its capture, not counted"] = time.perf_counter() - started - sum(times.values())
unwanted = [name for name in ("torchvision", "torch._dynamo") if name in sys.modules]
print(json.dumps({"times": times, "unwanted": unwanted}))
"""


def decoding_alone(check: Check, result: Result) -> None:
    """Step 1."""
    for name, archive in (("small", "small"), ("12 MP", "decoded-large")):
        rates = []
        for way in decoding.ways(CORES):
            measured = decoding.measure(way, check.plan.image_size, [check.archive(archive)])
            rates.append(measured.rate)
            result.figure(
                f"{name}, {way}",
                {"photos/s": round(measured.rate, 1), "page faults per photo": measured.page_faults // measured.photos},
            )
        result.figure(f"{name}: the best, photos/s", max(rates))


def start(check: Check, result: Result) -> None:
    """Step 2: seconds from the start of a process to the first shape's result, each part by itself."""
    for name in ("first process", "second process"):
        began = time.perf_counter()
        command = [sys.executable, "-c", _START, str(check.model), str(check.plan.image_size), check.device]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            result.check(name, done.stderr[-300:], holds=False)
            return
        said = json.loads(done.stdout.splitlines()[-1])
        times: dict[str, float] = {key: round(value, 2) for key, value in said["times"].items()}
        result.figure(f"{name}, s", times)
        result.figure(f"{name}, from its start to its end, s", time.perf_counter() - began)
    counted = sum(value for key, value in times.items() if "not counted" not in key)
    if check.plan.on_gpu:
        result.at_most("import, context, load and first shape, s (second process)", counted, 4.5)
    result.check("neither torchvision nor torch._dynamo is imported", said["unwanted"], not said["unwanted"])


@dataclass(frozen=True)
class Speeds:
    """How fast jobs went, by the times at which they ended."""

    start: float
    """Seconds that the whole took longer than it would have at the steady speed."""
    steady: float
    """Photos per second, without the first jobs and the last ones."""
    total: float
    """Photos per second."""

    @classmethod
    def of(cls, ends: Sequence[float], photos: int, at_once: int) -> Speeds:
        """Of jobs with `photos` each that ended at `ends`, seconds after the first was started. What lies between the
        end of the first `at_once` and the end of the last but `at_once` counts as steady, if that is as many
        at least."""
        ends = sorted(ends)
        total = len(ends) * photos / ends[-1]
        first, last = at_once - 1, len(ends) - at_once
        if last - first < at_once or ends[last] <= ends[first]:
            return cls(0.0, total, total)
        steady = (last - first) * photos / (ends[last] - ends[first])
        return cls(ends[-1] - len(ends) * photos / steady, steady, total)


def archives(check: Check, result: Result) -> None:
    """Step 6: archives from cold, beside a running server, the limits, and the seed pipeline."""
    plan, small = check.plan, check.archive("small")
    threads = crop_jobs.threads_per_archive(small.stat().st_size, plan.archives)
    cold = _several(check, result, "cold", plan.archives, small, threads, plan.small)
    log = next(iter((check.scratch / "cold" / "logs" / "engine").glob("*.log")), None)
    ready = re.findall(r"ready after ([\d.]+) s", log.read_text()) if log else []
    result.figure("from cold: engine process ready after, s", ready)
    result.check("from cold: engine processes", len(ready), len(ready) == 1, "= 1")
    _same_persons(check, result, "cold", plan.archives)
    warm = _several(check, result, "beside a running server", plan.archives, small, threads, plan.small)
    crop_jobs.end_engines()
    engine = _engine_alone(check, result)
    seed = _seed(check, result)
    if plan.on_gpu:
        result.at_least("from cold, photos/s", cold.total, 600)
        result.at_least("from cold ÷ seed pipeline", cold.total / seed, 10)
        limit = min([engine, *_decoding_best(check)])
        result.at_least("steady ÷ the slower of decoding and engine alone", cold.steady / limit, 0.8)
        result.figure("steady beside a running server ÷ the same", warm.steady / limit)
    else:
        result.skip("goals of speed", "a rehearsal")
    _snakemake(check, result)


def _several(
    check: Check, result: Result, name: str, count: int, archive: Path, threads: int, photos: int, **settings: Any
) -> Speeds:
    jobs = [check.job(f"a{number:03}", archive, name, threads=threads, settings=settings) for number in range(count)]
    finished = crop_jobs.run_all(jobs, patience=check.plan.patience if name == "cold" else check.plan.patience / 2)
    failed = [f"{each.archive}: {each.output}" for each in finished if each.status]
    result.check(f"{name}: archives done", failed or f"{len(finished)} of {count}", not failed)
    speeds = Speeds.of([each.ended for each in finished], photos, max(1, min(count, CORES // threads)))
    shown = {"start, s": round(speeds.start, 2), "steady/s": round(speeds.steady, 1), "total/s": round(speeds.total, 1)}
    lasted = statistics.median(each.ended - each.started for each in finished)
    result.figure(f"{name}: {count} x {photos} photos", {**shown, "an archive lasts, s": round(lasted, 2)})
    return speeds


def _same_persons(check: Check, result: Result, name: str, count: int) -> None:
    """Checks that the same photos have the same persons in each archive."""
    folder = check.scratch / name / "output" / "manifests"
    found = [persons_in([path], any_archive=True) for path in sorted(folder.glob("*.csv"))]
    equal = sum(each == found[0] for each in found)
    result.check(
        f"{name}: all archives have the same persons, to the last digit", f"{equal} of {count}", equal == count
    )
    result.figure(f"{name}: persons in an archive", sum(map(len, found[0].values())))


def _decoding_best(check: Check) -> list[float]:
    path = check.out / "decoding.json"
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    return [figures[name] for name in ("small: the best, photos/s",) if name in figures]


def _engine_alone(check: Check, result: Result) -> float:
    script = ROOT / "benchmarks" / "bare_engine.py"
    arguments = [str(check.model), str(check.plan.image_size), check.device, str(CORES), str(check.archive("small"))]
    if not check.plan.on_gpu:
        result.skip("engine alone", "no GPU; bare_engine.py drives the network of an engine process on cuda only")
        return float("inf")
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)
    if done.returncode:
        result.check("engine alone", done.stderr[-300:], holds=False)
        return float("inf")
    rate = check.plan.small / float(done.stdout.split()[-1])
    result.figure("engine alone, photos/s", rate)
    return rate


def _seed(check: Check, result: Result) -> float:
    output = check.scratch / "seed"
    output.mkdir()
    parts = sorted(check.archive("seed").parent.glob("*.zip"))
    script = ROOT / "benchmarks" / "seed_pipeline.py"
    arguments = [check.weights, check.plan.image_size, output, CORES, *parts]
    visible = {} if check.plan.on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **visible},
    )
    rate = check.plan.seed_photos / (time.monotonic() - began)
    result.check("seed pipeline came to its end", done.stderr[-300:] if done.returncode else "", not done.returncode)
    result.figure("seed pipeline, photos/s", rate)
    return rate


def _snakemake(check: Check, result: Result) -> None:
    """The same with the workflow, where it can run."""
    missing = [name for name in ("snakemake", "jsonschema", "openvino") if importlib.util.find_spec(name) is None]
    if missing:
        result.skip("with Snakemake", f"{', '.join(missing)} not installed")
        return
    folder, count = check.scratch / "workflow", max(2, check.plan.archives // 5)
    (folder / "raw_zips").mkdir(parents=True)
    for name in ("Snakefile", "config.yaml", "profiles", "workflow", "envs"):
        (folder / name).symlink_to(ROOT / name)
    for number in range(count):
        (folder / "raw_zips" / f"a{number:03}.zip").symlink_to(check.archive("small"))
    config = [f"model={check.weights}", f"image_size={check.plan.image_size}", "device=cuda"]
    targets = [f"output/manifests/a{number:03}.csv" for number in range(count)]
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(CORES), "--config", *config]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path})
    seconds = time.monotonic() - began
    made = sum((folder / target).exists() for target in targets)
    said = f"{made} of {count}" if made == count else done.stderr[-300:]
    result.check("with Snakemake: archives done", said, made == count and not done.returncode)
    result.figure("with Snakemake, preparing the model, photos/s", count * check.plan.small / seconds)


def small_large(check: Check, result: Result) -> None:
    """Step 7: many small archives, and photos of 12 megapixels with both ways of decoding."""
    plan, few, large = check.plan, check.archive("few"), check.archive("large")
    threads = crop_jobs.threads_per_archive(few.stat().st_size, plan.many)
    speeds = _several(check, result, "small archives", plan.many, few, threads, plan.few)
    result.figure("small archives per second", speeds.total / plan.few)
    threads = crop_jobs.threads_per_archive(large.stat().st_size, plan.large_archives)
    for decode in ("exact", "fast"):
        name = f"12 MP, {decode}"
        _several(check, result, name, plan.large_archives, large, threads, plan.large, decode=decode)
