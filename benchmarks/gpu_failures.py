"""The step of `gpu_check.py` that disturbs crop jobs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import crop_jobs
from crop_jobs import ROOT, CropJob
from gpu_persons import compare, persons_in

if TYPE_CHECKING:
    from gpu_check import Check
    from gpu_results import Result

_GONE = 5.0
"""Seconds within which processes must end that have lost what they were for."""


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
        left = hog.stdout.readline().strip()
        result.check("little GPU memory: left to the job, MB", left, left.isdecimal())
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


def _wait_until_gone(look: Callable[[], Sequence[object]]) -> list[object]:
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
