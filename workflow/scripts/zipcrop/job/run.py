"""The crop job: one archive, from opening it to publishing its results."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zipcrop import RESULTS_VERSION
from zipcrop.archive import source
from zipcrop.archive.confirmed import ConfirmedArchive, check_state
from zipcrop.archive.reader import ArchiveError, Member
from zipcrop.detect import model as prepared
from zipcrop.errors import EngineError, EngineGone, GPUUnusable, MachineError, ModelError, ZipcropError, machine_faults
from zipcrop.image import selection
from zipcrop.job import entry, plan
from zipcrop.job.hardware import Choice
from zipcrop.job.pool import Pool
from zipcrop.job.staging import Staging
from zipcrop.job.task import Job, Task
from zipcrop.process.progress import Progress, in_words
from zipcrop.results import manifest
from zipcrop.results.manifest import Outcome
from zipcrop.results.names import output_names

if TYPE_CHECKING:
    from zipcrop.archive.directory import State
    from zipcrop.job.hardware import Hardware
    from zipcrop.results.names import OutputName

_MOST_RESTARTS = 2
"""With a new engine process, of one archive."""


def run(job: Job) -> None:
    """Does the archive and publishes its results. Faults in the data end in the manifest.

    Raises MachineError for a fault of the machine; then nothing is published, and the next run carries on.
    """
    doing = f"cropping {job.zip} into {job.output}"
    # Twice: the log is to have the sentence as well, and may itself be at fault.
    with machine_faults(doing), Progress(job.archive, job.log) as progress, machine_faults(doing):
        _run(job, progress)


def _run(job: Job, progress: Progress) -> None:
    clock = _Clock()
    # Before anything is read: from here on, every change of the archive is noticed.
    state = None if job.refused else source.at(job.zip).state()
    model = prepared.Model.read(job.model)
    if job.settings.image_size % model.stride:
        raise ModelError(
            f"the weights {model.name} need an image_size that is a multiple of {model.stride}, which "
            f"{job.settings.image_size} is not; set another one"
        )
    _check_unchanged(job)
    identity = (job.fingerprint, model.identity, json.dumps(job.settings.flat()), str(RESULTS_VERSION))
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
    """Raises MachineError where the archive cannot be read now, at least not from this machine, but could be before:
    its results stay."""
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
    choice = Choice(job, model, progress)
    hardware = choice.planned()
    done, clock.seconds_before = staging.resume()
    try:
        members, digest = _open(job, state, done)
    except ArchiveError as error:
        progress.say(f"the archive failed: {error}")
        done.clear()
        rows = iter(manifest.failed_archive_rows(job.archive, str(error)))
        is_read = False
    else:
        work = _Work(job, model, state, digest, staging, choice, progress, clock)
        hardware = work.do(members, done)
        rows = (row for member in members for row in manifest.rows(job.archive, member, done[member.index]))
        staging.check_files(done.values())
        is_read = not any(outcome.again for outcome in done.values())
        progress.say(_closing_line(done.values(), clock.seconds()))
    record = _record(job, model, hardware, clock.seconds())
    _check_unchanged(job)
    if not (is_read or job.refused):
        # All bytes that were read were checked against the directory, which has not changed. But members that could
        # not be read may have been read while somebody copied the archive over itself.
        check_state(job.zip, state)
    staging.publish(rows, [done[index] for index in sorted(done)], record)


def _open(job: Job, state: State, done: Collection[int]) -> tuple[list[Member], str]:
    """The archive's members, and the digest of its directory; the members `done` will not be read again. Raises
    ArchiveError."""
    if job.refused:
        raise ArchiveError(job.refused)
    with ConfirmedArchive(job.zip, job.settings.limits, state) as archive:
        members = archive.members()
        if all(member.index in done or reason_to_skip(member) for member in members):
            archive.opened_again()  # no worker will see whether it reads the same
        return members, archive.digest


def reason_to_skip(member: Member) -> str:
    """Why the member is skipped without reading it; empty if it may be a photo."""
    return member.kind or selection.reason_to_skip(member.name)


@dataclass(frozen=True)
class _Work:
    """The members of an archive, on their way to outcomes."""

    job: Job
    model: prepared.Model
    state: State
    digest: str
    staging: Staging
    choice: Choice
    progress: Progress
    clock: _Clock

    def do(self, members: list[Member], done: dict[int, Outcome]) -> Hardware:
        """Adds to `done` the outcome of every member that is not in it yet; gives the hardware that did that."""
        if done:
            self.progress.say(f"carrying on after {len(done)} members that an interrupted run has done")
        photos = []
        for member in members:
            if reason := reason_to_skip(member):
                done[member.index] = Outcome(member.index, "skipped", reason)
            else:
                photos.append(member)
        # All of them, since a name depends on those before it.
        wanted = output_names([member.name for member in photos])
        names = {member.index: name for member, name in zip(photos, wanted, strict=True)}
        self.progress.start(len(members), len(done))
        hardware = self._do(names, members, done)
        if sorted(done) != [member.index for member in members]:
            raise ZipcropError(
                f"{self.job.archive}: {len(members)} members, but {len(done)} outcomes; please report this bug"
            )
        return hardware

    def _do(self, names: dict[int, OutputName], members: list[Member], done: dict[int, Outcome]) -> Hardware:
        """Does the members in `names` that are not in `done`. Starts again if the engine process ends meanwhile, and on
        the CPU if it does not even start."""
        restarts = 0
        while todo := [index for index in names if index not in done]:
            with self.choice.lease() as hardware:
                pool = Pool(self._task(hardware), names, hardware.workers, hardware.addresses)
                try:
                    for outcome in self._run_checked(pool, todo):
                        self._keep(outcome, members[outcome.index].name, done)
                except EngineGone as error:
                    restarts += 1
                    if restarts <= _MOST_RESTARTS:
                        self.progress.log(f"{error}; another one is started")
                        continue
                    if self.choice.has_worked(error.address):
                        raise  # whatever it is that ends it, it is no lack of a working GPU
                    unusable: EngineError = error
                except GPUUnusable as error:
                    unusable = error
                else:
                    return hardware
            self.choice.do_without(unusable.address, str(unusable))
            restarts = 0
        return self.choice.planned()

    def _task(self, hardware: Hardware) -> Task:
        return Task(
            job=self.job,
            model=self.model,
            device=hardware.device,
            engine=hardware.engine,
            threads=max(1, self.job.threads // hardware.workers),
            staging=self.staging.folder,
            state=self.state,
            digest=self.digest,
            workers_per_gpu=hardware.workers_per_gpu,
        )

    def _keep(self, outcome: Outcome, name: str, done: dict[int, Outcome]) -> None:
        self.staging.record(outcome, self.clock.seconds())
        done[outcome.index] = outcome
        if outcome.status == "failed":
            self.progress.log(f"failed: {name!r}: {outcome.reason}")
        self.progress.step(is_image=outcome.width is not None)

    def _run_checked(self, pool: Pool, todo: list[int]) -> Iterator[Outcome]:
        """As `pool.run`, with workers that have loaded nothing that is damaged."""
        outcomes = pool.run(todo)
        # While the workers load their engines, and this process has nothing else to do.
        try:
            entry.versions()  # for the record
            if prepared.check(self.model, pool.task.engine, pool.task.threads):
                return outcomes
        except BaseException:
            pool.stop()
            raise
        self.progress.log("a compiled network was damaged; it is compiled anew")
        pool.stop()
        return pool.run(todo)


def _record(job: Job, model: prepared.Model, hardware: Hardware, seconds: float) -> dict[str, Any]:
    """What the job leaves beside the manifest, as JSON has it."""
    return {
        "archive": job.archive,
        "zip": job.zip,
        "fingerprint": job.fingerprint,
        "model": {"name": model.name, "sha256": model.sha256, "quantized": model.quantized},
        "settings": job.settings.flat(),
        "device": hardware.device,
        "engine": hardware.engine,
        "gpus": hardware.gpus,
        "workers": hardware.workers,
        "threads": job.threads,
        "versions": entry.versions(),
        "seconds": round(seconds, 3),
    }


class _Clock:
    """The seconds that an archive has taken, over all tries."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.seconds_before = 0.0

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._started


def _closing_line(outcomes: Collection[Outcome], seconds: float) -> str:
    members = Counter(outcome.status for outcome in outcomes)
    crops = sum(len(outcome.persons) for outcome in outcomes if outcome.status == "person")
    images = sum(members[status] for status in ("person", "no_person", "rejected"))
    parts = [f"{members['person']} with people ({crops} crops)", f"{members['no_person']} without"]
    parts += [f"{members[status]} {status}" for status in ("rejected", "failed", "skipped") if members[status]]
    rate = images / max(seconds, 1e-9)
    return f"done: {members.total()} members: {', '.join(parts)}; {in_words(seconds)}, {rate:.1f} images/s"
