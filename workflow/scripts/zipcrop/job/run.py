"""The crop job: one archive, from opening it to publishing its results."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zipcrop import RESULTS_VERSION
from zipcrop.archive import source
from zipcrop.archive.confirmed import ConfirmedArchive, check_state
from zipcrop.archive.directory import State
from zipcrop.archive.reader import ArchiveError, Limits, Member
from zipcrop.detect import device
from zipcrop.detect import model as prepared
from zipcrop.detect.persons import Thresholds
from zipcrop.errors import MachineError, ZipcropError, machine_faults
from zipcrop.job import plan
from zipcrop.job.pool import Pool
from zipcrop.job.staging import Staging
from zipcrop.job.worker import CropSettings, Task
from zipcrop.process import gpu
from zipcrop.process.gpu import Lease
from zipcrop.process.progress import Progress, in_words
from zipcrop.results import manifest
from zipcrop.results.manifest import Outcome
from zipcrop.results.names import output_names


@dataclass(frozen=True)
class Job:
    """What to do with one archive."""

    archive: str
    zip: str
    """Its path, or its URL in an object store."""
    fingerprint: str
    """The archive's when the run began."""
    model: Path
    """JSON of the prepared model."""
    output: Path
    log: Path
    settings: dict[str, Any]
    """Settings that change results, flat, as `settings.affecting_results` gives them."""
    device: str
    engine: str
    batch: int
    workers: int | str
    gpus_per_archive: int
    threads: int
    """Cores that the job has to itself."""
    refused: str = ""
    """Why the archive is not opened, if it is not: see `source.RefusedZip`."""


def run(job: Job) -> None:
    """Does the archive and publishes its results. Faults in the data end in the manifest.

    Raises MachineError for a fault of the machine; then nothing is published, and the next run carries on.
    """
    doing = f"cropping {job.zip} into {job.output}"
    # Twice, since the log is to have the sentence, too, and may itself be at fault.
    with machine_faults(doing), Progress(job.archive, job.log) as progress, machine_faults(doing):
        _run(job, progress)


def _run(job: Job, progress: Progress) -> None:
    clock = _Clock()
    # Before anything is read: what happens to the archive from here on is noticed.
    state = None if job.refused else source.at(job.zip).state()
    model = prepared.Model.read(job.model)
    _check_unchanged(job)
    identity = (job.fingerprint, model.identity, json.dumps(job.settings), str(RESULTS_VERSION))
    with Staging(job.output, job.archive, *identity) as staging:
        wanted = plan.Wanted(model.name, model.sha256, model.quantized, job.settings)
        _keep_what_was_readable(job)
        if not staging.is_forced() and plan.is_done(job.output, job.archive, job.fingerprint, wanted):
            progress.say("nothing to do: its results are there already")
        elif staging.is_ready():
            staging.put_in_place()
            progress.say("done: what an interrupted run had not put in its place is there now")
        else:
            _make(job, model, state, staging, progress, clock)


def _keep_what_was_readable(job: Job) -> None:
    """Raises MachineError where the archive cannot be read, at least not from here, and has been: its results stay."""
    if job.fingerprint != source.UNREADABLE:
        return
    try:
        before = manifest.read_record(job.output, job.archive).get("fingerprint")
    except (OSError, ValueError):
        return
    if before != source.UNREADABLE:
        raise MachineError(
            f"{job.zip} cannot be read ({source.at(job.zip).why_unreadable()}), though it could be before; "
            "see that it can be, also from this machine, and run again"
        )


def _check_unchanged(job: Job) -> None:
    if not job.refused:
        source.check_unchanged(job.zip, job.fingerprint)


def _make(job: Job, model: prepared.Model, state: State, staging: Staging, progress: Progress, clock: _Clock) -> None:
    """Makes the results and publishes them. The archive was in `state` when the job began."""
    chosen_device, chosen_engine = device.choose(job.device, job.engine, job.settings["precision"])
    with _lease(job, chosen_device) as leases:
        gpus = [lease.gpu.uuid for lease in leases]
        if gpus:
            progress.log(f"on {', '.join(gpus)}")
        done, clock.seconds_before = staging.resume()
        workers = device.worker_count(job.workers, chosen_device, job.threads, len(gpus))
        limits = Limits(*(job.settings[f"limits.{key}"] for key in ("member_mb", "megapixels", "members")))
        try:
            if job.refused:
                raise ArchiveError(job.refused)
            with ConfirmedArchive(job.zip, limits, state) as archive:
                members = archive.members()
                if all(member.skip or member.index in done for member in members):
                    archive.opened_again()  # there will be no worker to see whether it reads the same
        except ArchiveError as error:
            progress.say(f"the archive failed: {error}")
            done = {}
            rows = iter(manifest.failed_archive_rows(job.archive, str(error)))
            unread = True
        else:
            photos = [member for member in members if not member.skip]
            wanted = output_names([member.name for member in photos])
            names = {member.index: name for member, name in zip(photos, wanted, strict=True)}
            task = Task(
                archive=job.archive,
                zip=job.zip,
                state=state,
                digest=archive.digest,
                staging=staging.folder,
                log=job.log,
                model=model,
                device=chosen_device,
                engine=chosen_engine,
                threads=max(1, job.threads // workers),
                batch=job.batch,
                image_size=job.settings["image_size"],
                decode=job.settings["decode"],
                thresholds=Thresholds(*(job.settings[key] for key in ("confidence", "iou", "max_detections"))),
                crop=CropSettings(
                    *(job.settings[f"crop.{key}"] for key in ("padding", "min_size", "format", "quality"))
                ),
                limits=limits,
                seconds=job.settings["limits.seconds"],
            )
            pool = Pool(task, names, workers, leases)
            whole = functools.partial(prepared.check, model, chosen_engine, task.threads)
            _work(pool, members, done, staging, progress, clock, whole)
            if sorted(done) != [member.index for member in members]:
                raise ZipcropError(
                    f"{job.archive}: {len(members)} members, but {len(done)} outcomes; please report this bug"
                )
            rows = (row for member in members for row in manifest.rows(job.archive, member, done[member.index]))
            staging.check_files(done.values())
            unread = any(outcome.again for outcome in done.values())
            progress.say(_closing_line(done.values(), clock.seconds()))
        record = {
            "archive": job.archive,
            "zip": job.zip,
            "fingerprint": job.fingerprint,
            "model": {"name": model.name, "sha256": model.sha256, "quantized": model.quantized},
            "settings": job.settings,
            "device": chosen_device,
            "engine": chosen_engine,
            "gpus": gpus,
            "workers": workers,
            "threads": job.threads,
            "versions": _versions(),
            "seconds": round(clock.seconds(), 3),
        }
        _check_unchanged(job)
        if unread and not job.refused:
            # Whatever has been read was checked against the directory, which is the same; but what was not may have
            # been read while somebody copied the archive over itself.
            check_state(job.zip, state)
        staging.publish(rows, [done[index] for index in sorted(done)], record)


def _lease(job: Job, chosen_device: device.Device) -> contextlib.AbstractContextManager[list[Lease]]:
    if chosen_device == "cpu":
        return contextlib.nullcontext([])
    most = job.gpus_per_archive if job.workers == "auto" else min(job.gpus_per_archive, int(job.workers))
    return gpu.lease(gpu.visible(), most)


class _Clock:
    """The seconds that an archive has taken, over all tries."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.seconds_before = 0.0

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._started


def _work(
    pool: Pool,
    members: list[Member],
    done: dict[int, Outcome],
    staging: Staging,
    progress: Progress,
    clock: _Clock,
    is_whole: Callable[[], bool],
) -> None:
    """Adds to `done` the outcome of every member that is not in it yet. `is_whole` says whether what the workers load
    is."""
    todo = [member.index for member in members if not member.skip and member.index not in done]
    if done:
        progress.say(f"carrying on after {len(done)} members that an interrupted run has done")
    for member in members:
        if member.skip:
            done[member.index] = Outcome(member.index, "skipped", member.skip)
    progress.start(len(members), len(members) - len(todo))
    for outcome in _run_checked(pool, todo, progress, is_whole):
        staging.record(outcome, clock.seconds())
        done[outcome.index] = outcome
        if outcome.status == "failed":
            progress.log(f"failed: {members[outcome.index].name!r}: {outcome.reason}")
        progress.step(is_image=outcome.width is not None)


def _run_checked(pool: Pool, todo: list[int], progress: Progress, is_whole: Callable[[], bool]) -> Iterator[Outcome]:
    """As `pool.run`, with workers of which `is_whole` has said that what they load is."""
    outcomes = pool.run(todo)
    # While the workers load their engines, and there is nothing else to do here.
    try:
        _versions()  # for the record
        if not todo or is_whole():
            return outcomes
    except BaseException:
        pool.stop()
        raise
    progress.log("a compiled network was damaged; it is compiled anew")
    pool.stop()
    return pool.run(todo)


def _closing_line(outcomes: Collection[Outcome], seconds: float) -> str:
    members = Counter(outcome.status for outcome in outcomes)
    crops = sum(len(outcome.persons) for outcome in outcomes if outcome.status == "person")
    images = sum(members[status] for status in ("person", "no_person", "rejected"))
    parts = [f"{members['person']} with people ({crops} crops)", f"{members['no_person']} without"]
    parts += [f"{members[status]} {status}" for status in ("rejected", "failed", "skipped") if members[status]]
    rate = images / max(seconds, 1e-9)
    return f"done: {members.total()} members: {', '.join(parts)}; {in_words(seconds)}, {rate:.1f} images/s"


@functools.cache
def _versions() -> dict[str, str]:
    import importlib.metadata  # here, since every spawned worker imports this module and would pay for it

    packages = ("numpy", "opencv-python-headless", "openvino", "torch", "ultralytics-opencv-headless")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"results": str(RESULTS_VERSION), "python": platform.python_version(), **versions}
