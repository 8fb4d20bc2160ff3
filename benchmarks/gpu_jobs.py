"""The steps of `gpu_check.py` that run crop jobs, and what they are measured against."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import crop_jobs
import decoding
from crop_jobs import CORES, ROOT, CropJob

if TYPE_CHECKING:
    from gpu_check import Check
    from gpu_results import Result

Box = tuple[float, float, float, float, float]
"""x1, y1, x2, y2 in pixels, and the confidence."""
Persons = dict[tuple[str, str], list[Box]]
"""By archive and member; also of photos without anybody."""
_CONFIDENCE = 0.25
_GONE = 5.0
"""Seconds within which processes must end that have lost what they were for."""


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
        end of the first `at_once` and the end of the last but `at_once` counts as steady, if there is any."""
        ends = sorted(ends)
        total = len(ends) * photos / ends[-1]
        first, last = at_once - 1, len(ends) - at_once
        if last <= first or ends[last] <= ends[first]:
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
    finished = crop_jobs.run_all(jobs, patience=check.plan.patience)
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


def failures(check: Check, result: Result) -> None:
    """Step 8: kills of the server and of a job, two owners, and a GPU with little memory. Each time the results must be
    what they are without."""
    reference = check.scratch / "cold" / "output" / "manifests" / "a000.csv"
    if not reference.exists():
        job = check.job("a000", check.archive("small"), "undisturbed")
        crop_jobs.run_all([job])
        reference = job.manifest
        result.figure("reference", "made anew, since step 6 left none")
    before = _gpu_memory(check)
    _kill_server(check, result, reference)
    _kill_job(check, result, reference)
    crop_jobs.end_engines()
    _two_owners(check, result, reference)
    _little_memory(check, result, reference)
    crop_jobs.end_engines()
    left = _wait_until_gone(lambda: list(_ours()))
    result.check("no process is left", left or "none", not left)
    if before is not None:
        after = _gpu_memory(check) or 0
        result.check("no GPU memory is left in use, MB", f"{before} before, {after} after", after <= before + 100)


def _kill_server(check: Check, result: Result, reference: Path) -> None:
    job = check.job("a000", check.archive("small"), "killed-server")
    with _started(job) as process:
        midway = _wait_until_midway(job, process)
        for engine in crop_jobs.engine_processes():
            engine.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
    again = "another one is started" in job.log.read_text()
    result.check("kill -9 of the server: it was midway", f"{midway} files", midway > 0 and again)
    result.check(
        "kill -9 of the server: the job ends well", said[-300:] if process.returncode else "", not process.returncode
    )
    _equals(result, "kill -9 of the server", job, reference)


def _kill_job(check: Check, result: Result, reference: Path) -> None:
    job = check.job("a000", check.archive("small"), "killed-job")
    with _started(job) as process:
        midway = _wait_until_midway(job, process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    left = _wait_until_gone(
        lambda: [worker for worker in workers if worker.is_running() and worker.status() != "zombie"]
    )
    result.check("kill -9 of a job: its workers end", f"{len(workers)} of them", bool(workers) and not left)
    result.check("kill -9 of a job: it was midway", f"{midway} files", midway > 0 and not job.manifest.exists())
    (finished,) = crop_jobs.run_all([job])
    carried_on = "carrying on after" in finished.output + job.log.read_text()
    result.check(
        "kill -9 of a job: the next one carries on", finished.output[-300:], not finished.status and carried_on
    )
    _equals(result, "kill -9 of a job", job, reference)


def _two_owners(check: Check, result: Result, reference: Path) -> None:
    """Two runs at once, each with an engine process of its own, which ends with its run."""
    jobs = [check.job("a000", check.archive("small"), f"owner-{number}") for number in range(2)]
    owners = []
    for number, job in enumerate(jobs):
        what = {"archive": job.archive, "zip": str(job.zip), "output": f"owner-{number}"}
        owners.append(_ourselves(check, "owner", f"--job={json.dumps(what)}", stdout=subprocess.PIPE))
    engines: dict[int, psutil.Process] = {}
    while any(owner.poll() is None for owner in owners):
        for owner in owners:
            engines.update({each.pid: each for each in crop_jobs.engine_processes(owner.pid)})
        time.sleep(0.2)
    for number, (owner, job) in enumerate(zip(owners, jobs, strict=True)):
        said = owner.communicate()[0]
        fine = not owner.returncode and json.loads(said.splitlines()[-1])["status"] == 0
        result.check(f"two owners: run {number} ends well", "" if fine else said[-300:], fine)
        _equals(result, f"two owners: run {number}", job, reference)
    result.check("two owners: engine processes", len(engines), len(engines) == 2, "= 2")
    left = _wait_until_gone(lambda: [each for each in engines.values() if each.is_running()])
    result.check("two owners: they end with their runs", left or "", not left)


def _little_memory(check: Check, result: Result, reference: Path) -> None:
    if not check.plan.on_gpu:
        result.skip("a program that holds all but 700 MB of the GPU's memory", "no GPU")
        return
    with _ourselves(check, "hog", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hog:
        assert hog.stdout is not None
        result.figure("little GPU memory: left, MB", hog.stdout.readline().strip())
        job = check.job("a000", check.archive("small"), "little-memory")
        (finished,) = crop_jobs.run_all([job])
        crop_jobs.end_engines()
    ends_well = finished.status == 0
    result.check("little GPU memory: the job ends well", "" if ends_well else finished.output[-300:], ends_well)
    if ends_well:
        compared = compare(persons_in([reference]), persons_in([job.manifest]), 0.0)
        result.check(
            "little GPU memory: persons missing or new",
            compared.missing + compared.new,
            not (compared.missing + compared.new),
        )
        result.at_least("little GPU memory: least IoU", compared.least_iou, 0.99)


def parity(check: Check, result: Result) -> None:
    """Step 9: the bundled detector, against the CPU in f32."""
    paths, truth = _parity_archives(check)
    settings = {"image_size": check.plan.parity_size, "confidence": 0.01}
    options: dict[str, Any] = {"model": check.parity_model, "threads": CORES}
    manifests: dict[str, list[Path]] = {}
    for name, extra in (("gpu", {}), ("cpu", {"device": "cpu", "engine": "torch"})):
        jobs = [
            check.job(path.stem, path, f"parity-{name}", settings={**settings, **extra}, **options) for path in paths
        ]
        finished = crop_jobs.run_all(jobs)
        failed = [each.output[-300:] for each in finished if each.status]
        result.check(f"{name}: archives done", failed or len(finished), not failed)
        manifests[name] = [job.manifest for job in jobs]
    on_cpu, on_gpu = persons_in(manifests["cpu"]), persons_in(manifests["gpu"])
    result.figure("photos", len(on_cpu))
    compared = compare(on_cpu, on_gpu, _CONFIDENCE)
    result.figure(f"persons above {_CONFIDENCE} on the CPU", compared.persons)
    result.check("persons missing on the GPU", compared.missing, compared.missing == 0, "= 0")
    result.at_least("least IoU", compared.least_iou, 0.99)
    result.figure("IoU, 1 in 100 is below", compared.iou_1_percent)
    result.figure("confidence, greatest difference", compared.greatest_score_error)
    back = compare(on_gpu, on_cpu, _CONFIDENCE)
    result.figure(f"persons above {_CONFIDENCE} on the GPU that the CPU lacks", back.missing)
    _average_precision(check, result, truth)


def _parity_archives(check: Check) -> tuple[list[Path], Path | None]:
    """The archives to compare on, and the table of true boxes where there is one beside them."""
    if check.given:
        for truth in (check.given / "truth.csv", check.given.parent / "truth.csv"):
            if truth.exists():
                paths = sorted(check.given.rglob("*.zip"))
                return (paths if check.plan.on_gpu else paths[:1]), truth
    return [check.scratch / "archives" / "parity" / "photos0.zip"], None


def _average_precision(check: Check, result: Result, truth: Path | None) -> None:
    missing = [name for name in ("pycocotools", "pandas") if importlib.util.find_spec(name) is None]
    if truth is None or missing:
        why = f"{', '.join(missing)} not installed" if truth else "no truth.csv beside the photos"
        result.skip("AP50", why)
        return
    script = ROOT / "benchmarks" / "evaluate.py"
    outputs = [str(check.scratch / f"parity-{name}" / "output") for name in ("cpu", "gpu")]
    done = subprocess.run([sys.executable, str(script), str(truth), *outputs], capture_output=True, text=True)
    found = [float(match) for match in re.findall(r"^\S*/output +([\d.]+)", done.stdout, re.MULTILINE)]
    if done.returncode or len(found) < 2:
        result.check("AP50", (done.stderr or done.stdout)[-300:], holds=False)
        return
    result.figure("AP50, CPU and GPU", found[:2])
    result.at_most("AP50, difference", abs(found[0] - found[1]), 0.1)


@dataclass(frozen=True)
class Compared:
    """The persons of one run, looked for in those of another."""

    persons: int
    missing: int
    new: int
    """Of the other run, whom nobody of the first one is."""
    least_iou: float
    iou_1_percent: float
    greatest_score_error: float


def compare(expected: Persons, found: Persons, confidence: float) -> Compared:
    """Looks for each person of `expected` above `confidence` in `found`, by the greatest IoU, 0.5 at least. Photos that
    one of them lacks count as without people there."""
    overlaps, errors, missing, matched = [], [], 0, 0
    for photo, boxes in expected.items():
        others = list(found.get(photo, []))
        for box in sorted(boxes, key=lambda box: -box[4]):
            if box[4] <= confidence:
                continue
            best = max(others, key=lambda other: iou(box, other), default=None)
            if best is None or iou(box, best) < 0.5:
                missing += 1
                continue
            others.remove(best)
            matched += 1
            overlaps.append(iou(box, best))
            errors.append(abs(box[4] - best[4]))
    overlaps.sort()
    total = sum(box[4] > confidence for boxes in found.values() for box in boxes)
    return Compared(
        persons=matched + missing,
        missing=missing,
        new=max(0, total - matched),
        least_iou=overlaps[0] if overlaps else 1.0,
        iou_1_percent=overlaps[len(overlaps) // 100] if overlaps else 1.0,
        greatest_score_error=max(errors, default=0.0),
    )


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    either = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both
    return both / either if either else 0.0


def persons_in(manifests: Sequence[Path], any_archive: bool = False) -> Persons:
    """The persons in manifests; of `any_archive`, under the same name."""
    found: Persons = {}
    for path in manifests:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                boxes = found.setdefault(("" if any_archive else row["archive"], row["member"]), [])
                if row["status"] == "person":
                    x1, y1, x2, y2, score = (float(row[name]) for name in ("x1", "y1", "x2", "y2", "confidence"))
                    boxes.append((x1, y1, x2, y2, score))
    return found


def _equals(result: Result, what: str, job: CropJob, reference: Path) -> None:
    is_there = job.manifest.exists()
    equal = is_there and job.manifest.read_bytes() == reference.read_bytes()
    result.check(f"{what}: the manifest is as without", "" if is_there else "there is none", equal)


@contextlib.contextmanager
def _started(job: CropJob) -> Iterator[subprocess.Popen[str]]:
    process = crop_jobs.start(job)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_midway(job: CropJob, process: subprocess.Popen[str]) -> int:
    """Waits until the job has written some results, and gives how many; 0 if it has ended."""
    while process.poll() is None:
        files = sum(1 for path in itertools.islice(job.output.rglob("*.jpg"), 10))
        if files >= 10:
            return files
        time.sleep(0.005)
    return 0


def _ourselves(check: Check, step: str, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    options = [f"--out={check.out}", f"--scratch={check.scratch}", *arguments]
    options += [] if check.plan.on_gpu else ["--cpu"]
    script = ROOT / "benchmarks" / "gpu_check.py"
    return subprocess.Popen([sys.executable, str(script), step, *options], text=True, **pipes)


def _ours() -> Iterator[str]:
    """The command lines of processes that were started for this check's jobs, other than this one's ancestors."""
    ancestors = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    place = os.environ.get("ZIPCROP_GPU_CHECK")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                place
                and process.pid not in ancestors
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("ZIPCROP_GPU_CHECK") == place
            ):
                yield " ".join(process.cmdline())[:200]


def _wait_until_gone(look: Any) -> list[Any]:
    """What `look` still finds when patience is at its end."""
    patience = time.monotonic() + _GONE
    while (left := look()) and time.monotonic() < patience:
        time.sleep(0.1)
    return list(left)


def _gpu_memory(check: Check) -> int | None:
    """Megabytes of the GPU that are in use."""
    if not check.plan.on_gpu:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return int(said[0]) if said and said[0].isdecimal() else None
