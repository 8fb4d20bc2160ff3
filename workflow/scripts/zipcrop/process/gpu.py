"""GPUs: those that this process may use, and leases, by which every GPU has one engine process.

Snakemake counts GPUs, and does not tell a job which one it may use (snakemake#281). Nothing here imports torch or
touches CUDA. Leases are locks on files, which the kernel frees however their holders end. They are in one folder for
all runs of a user on a machine, and each name begins with the GPU and the run:

    <GPU>.<run>.engine     held by the engine process that has the GPU, for that run
    <GPU>.<run>.job.<n>    held by a job of that run, whose workers use the engine process
    <GPU>.<run>.socket     where the engine process listens
    <GPU>.<run>.worked     no lock: an engine process of that run has worked there
    <GPU>.<run>.unusable   no lock: why that run does without the GPU
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zipcrop.errors import MachineError
from zipcrop.process import lock
from zipcrop.process.orphan import ProcessId

LEASES = Path(f"/tmp/zipcrop-gpus-{os.getuid()}")
"""Not below TMPDIR, which may differ from run to run."""
_INTERVAL = 0.01
_LEAVING = 10.0
"""Seconds that a job waits for an engine process that is ending to leave its GPU."""


@dataclass(frozen=True)
class GPU:
    """An NVIDIA GPU."""

    name: str
    """The name in `CUDA_VISIBLE_DEVICES`."""
    uuid: str
    """The name in every process on the machine, whatever is visible there."""

    @property
    def file_name(self) -> str:
        """Its UUID, as a part of file names: that of a part of a GPU may have slashes."""
        return self.uuid.replace("/", "-")


def visible() -> list[GPU]:
    """The GPUs that this process may use: those of the driver, restricted and ordered by `CUDA_VISIBLE_DEVICES`.

    Numbers count them as the driver does, by their place on the bus. CUDA itself would put the fastest first; see
    `environment`.
    """
    import pynvml

    def uuid_of(index: int) -> str | None:
        try:
            return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError:  # it is lost, or not for this user
            return None

    try:
        pynvml.nvmlInit()
        uuids = [uuid_of(index) for index in range(pynvml.nvmlDeviceGetCount())]
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return [GPU(uuid, uuid) for uuid in uuids if uuid]
    gpus: dict[str, GPU] = {}
    for name in map(str.strip, names.split(",")):
        uuid = _find(name, uuids)
        if uuid is None:  # CUDA ignores the names that follow, too
            break
        gpus.setdefault(uuid, GPU(name, uuid))
    return list(gpus.values())


def _find(name: str, uuids: list[str | None]) -> str | None:
    """The UUID of the GPU that `CUDA_VISIBLE_DEVICES` calls `name`: a number, the beginning of a UUID, or a part of a
    GPU (MIG), which the driver lists elsewhere. `uuids` has None for a GPU that cannot be used."""
    if name.isdecimal():
        return uuids[int(name)] if int(name) < len(uuids) else None
    if name.startswith("MIG-") and uuids:
        return name
    return next((uuid for uuid in uuids if uuid and name.startswith("GPU-") and uuid.startswith(name)), None)


def environment(gpu: GPU) -> dict[str, str]:
    """The variables by which CUDA sees `gpu` alone. Without the order, a number would mean another GPU to CUDA than to
    the driver on a machine with several kinds."""
    return {"CUDA_VISIBLE_DEVICES": gpu.name, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@dataclass(frozen=True)
class Run:
    """A run: the process whose end is the end of its engine processes, and what they infer with."""

    owner: ProcessId
    network: str
    """Tells networks, with their sizes, apart. One owner may have several."""

    def __str__(self) -> str:
        return f"{self.owner}-{self.network}"


class Leases:
    """The leases in a folder. Only the process whose turn it is may choose, take a lease or name its holder."""

    def __init__(self, folder: Path = LEASES) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def turn(self, wait: bool = True) -> Iterator[None]:
        """Lets one process at a time choose and start engine processes, lest two find the same GPU free. Raises OSError
        where the folder cannot be used, and LockedError unless it is to `wait`."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.folder.lstat().st_uid != os.getuid():  # another user may have made it, with links in it
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))
        while True:
            try:
                turn = lock.acquire(self.folder / "turn")
            except lock.LockedError:
                if not wait:
                    raise
                time.sleep(_INTERVAL)
            else:
                break
        with turn:
            yield

    def choose(self, gpus: Sequence[GPU], count: int, most: int, run: Run) -> list[GPU]:
        """The `count` of `gpus`, or all if there are no more, for a job of `run`, which may use `most` at a time.

        They are those with the fewest engine processes of other runs: none, as long as there are enough; of these, the
        ones with the fewest jobs of `run`. It may wait a moment for an engine process whose run has ended.
        """
        patience = time.monotonic() + _LEAVING
        while True:
            own = [gpu for gpu in gpus if self.engine_pid(gpu, run) is not None]
            others = {gpu: self._other_runs(gpu, run) for gpu in gpus}
            jobs = {gpu: self._jobs(gpu, run) for gpu in gpus}
            candidates = own if len(own) >= max(count, most) else gpus
            chosen = sorted(candidates, key=lambda gpu: (len(others[gpu]), jobs[gpu], gpu not in own))[:count]
            leaving = any(not owner.is_alive() for gpu in gpus for owner in others[gpu])
            if not (leaving and any(others[gpu] for gpu in chosen)) or time.monotonic() > patience:
                return chosen
            time.sleep(_INTERVAL)

    def _other_runs(self, gpu: GPU, run: Run) -> list[ProcessId]:
        """The owners of the engine processes that other runs have on the GPU."""
        owners = []
        for path in self.folder.glob(f"{gpu.file_name}.*.engine"):
            owner = _owner(path)
            if owner and f".{run}." not in path.name and _holder(path):
                owners.append(owner)
        return owners

    def _jobs(self, gpu: GPU, run: Run) -> int:
        return sum(_holder(path) is not None for path in self.folder.glob(f"{gpu.file_name}.{run}.job.*"))

    def take_share(self, gpu: GPU, run: Run) -> IO[str]:
        """A job's lease of its engine process on the GPU. It ends when it is closed, or with the job."""
        for number in itertools.count():
            with contextlib.suppress(lock.LockedError):
                return lock.acquire(self.folder / f"{gpu.file_name}.{run}.job.{number}")
        raise AssertionError  # count() has no end

    def take_engine(self, gpu: GPU, run: Run) -> IO[str]:
        """The lease of an engine process. Waits for one that is ending.

        Raises MachineError if that takes too long.
        """
        patience = time.monotonic() + _LEAVING
        while True:
            try:
                return lock.acquire(self._engine(gpu, run))
            except lock.LockedError as error:
                if time.monotonic() > patience:
                    raise MachineError(
                        f"{gpu.uuid} is still held by {error}, which does not end; end it, and run again"
                    ) from None
            time.sleep(_INTERVAL)

    def engine_pid(self, gpu: GPU, run: Run) -> int | None:
        """The number of the engine process of `run` on the GPU; None if there is none."""
        holder = _holder(self._engine(gpu, run))
        return None if holder is None else holder.pid or 0

    def socket(self, gpu: GPU, run: Run) -> Path:
        """Where the engine process of `run` on the GPU listens."""
        return self.folder / f"{gpu.file_name}.{run}.socket"

    def _engine(self, gpu: GPU, run: Run) -> Path:
        return self.folder / f"{gpu.file_name}.{run}.engine"

    def sweep(self) -> None:
        """Removes what runs have left that have ended."""
        for path in self.folder.iterdir():
            owner = _owner(path)
            locked = path.with_suffix(".engine") if path.suffix == ".socket" else path
            if owner and not owner.is_alive() and not _holder(locked):
                path.unlink(missing_ok=True)

    def mark_unusable(self, gpu: GPU, run: Run, why: str) -> bool:
        """Notes that `run` cannot use the GPU. Whether this is the first such note."""
        try:
            with self._unusable(gpu, run).open("x", encoding="utf-8") as file:
                file.write(why)
        except FileExistsError:
            return False
        return True

    def why_unusable(self, gpu: GPU, run: Run) -> str:
        """What was noted about the GPU; empty if nothing was."""
        try:
            return self._unusable(gpu, run).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def mark_working(self, gpu: GPU, run: Run) -> None:
        """Notes that an engine process of `run` works on the GPU."""
        self._worked(gpu, run).touch()

    def has_worked(self, gpu: GPU, run: Run) -> bool:
        """Whether an engine process of `run` has worked on the GPU."""
        return self._worked(gpu, run).exists()

    def _worked(self, gpu: GPU, run: Run) -> Path:
        return self.folder / f"{gpu.file_name}.{run}.worked"

    def _unusable(self, gpu: GPU, run: Run) -> Path:
        return self.folder / f"{gpu.file_name}.{run}.unusable"


def _holder(path: Path) -> lock.LockedError | None:
    """The error that names who holds the lock on the file at `path`, if there is one and it is held."""
    if not path.is_file():
        return None
    try:
        lock.acquire(path).close()
    except lock.LockedError as error:
        return error
    return None


def _owner(path: Path) -> ProcessId | None:
    """The owner of the run in the name of a file; None for a file of another kind."""
    for part in path.name.split("."):
        owner, _, network = part.rpartition("-")
        if network and (found := ProcessId.parse(owner)):
            return found
    return None
