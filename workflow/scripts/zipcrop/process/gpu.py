"""GPUs: those that this process may use, and leases, by which every job gets one of its own.

Snakemake counts GPUs, and does not tell a job which one it may use (snakemake#281). Nothing here imports torch or
touches CUDA.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing.reduction
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from zipcrop.errors import MachineError
from zipcrop.process import lock

LEASES = Path(f"/tmp/zipcrop-gpus-{os.getuid()}")
"""One folder for all runs of a user on a machine; not TMPDIR, which may differ from run to run."""
_INTERVAL = 0.01
_LEAVING = 10.0
"""Seconds that a job waits for the last processes of an ended one before it shares a GPU with them."""


@dataclass(frozen=True)
class GPU:
    """An NVIDIA GPU."""

    name: str
    """The name in `CUDA_VISIBLE_DEVICES`."""
    uuid: str
    """The name in every process on the machine, whatever is visible there."""


def visible() -> list[GPU]:
    """The GPUs that this process may use: those of the driver, restricted and ordered by `CUDA_VISIBLE_DEVICES`."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        # By their UUIDs, since CUDA may number them in another order than the driver.
        return [GPU(uuid, uuid) for uuid in uuids]
    gpus: dict[str, GPU] = {}
    for name in map(str.strip, names.split(",")):
        uuid = _find(name, uuids)
        if uuid is None:  # CUDA ignores the names that follow, too
            break
        gpus.setdefault(uuid, GPU(name, uuid))
    return list(gpus.values())


def _find(name: str, uuids: list[str]) -> str | None:
    """The UUID of the GPU that `CUDA_VISIBLE_DEVICES` calls `name`: a number, the beginning of a UUID, or a part of a
    GPU (MIG), which the driver lists elsewhere."""
    if name.isdecimal():
        return uuids[int(name)] if int(name) < len(uuids) else None
    if name.startswith("MIG-") and uuids:
        return name
    return next((uuid for uuid in uuids if name.startswith("GPU-") and uuid.startswith(name)), None)


class Lease:
    """A GPU that is a job's own. It ends with the last process that has it.

    That is the job, or a worker that was handed the lease when it was spawned; a worker may need a moment to die with
    its job and to leave the GPU. The lease is a lock on a file, which the kernel frees however the processes end.
    """

    def __init__(self, gpu: GPU, file: IO[str]) -> None:
        """`file` is the locked one."""
        self.gpu = gpu
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherit, (self.gpu, multiprocessing.reduction.DupFd(self._file.fileno()))

    def close(self) -> None:
        """Gives the GPU back, as far as this process is concerned."""
        self._file.close()


def _inherit(gpu: GPU, descriptor: Any) -> Lease:
    return Lease(gpu, os.fdopen(descriptor.detach(), "a+", encoding="utf-8"))


@contextlib.contextmanager
def lease(gpus: Sequence[GPU], count: int, folder: Path = LEASES) -> Iterator[list[Lease]]:
    """Leases `count` of `gpus`, or all if there are no more, for the `with` block.

    They are the ones with the fewest other leases: none, as long as there are enough GPUs for all. It may wait a moment
    for a GPU whose job has been killed. The locked files are in `folder`.

    Raises MachineError where the folder cannot be used.
    """
    with contextlib.ExitStack() as leases:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.lstat().st_uid != os.getuid():  # another user may have made it, with links in it
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            with _turn(folder / "turn"):
                chosen = _freest(gpus, count, folder)
                leased = [leases.enter_context(contextlib.closing(_hold(folder, gpu))) for gpu in chosen]
        except OSError as error:
            raise MachineError.from_os_error(error, f"leasing a GPU in {folder}") from None
        yield leased


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Lets one process at a time choose, lest two find the same GPU free."""
    while True:
        try:
            turn = lock.acquire(path)
        except lock.LockedError:
            time.sleep(_INTERVAL)
        else:
            break
    with turn:
        yield


def _freest(gpus: Sequence[GPU], count: int, folder: Path) -> list[GPU]:
    """The `count` of `gpus` with the fewest leases, once no lease that matters is about to end."""
    patience = time.monotonic() + _LEAVING
    while True:
        holders = {gpu: _holders(folder, gpu) for gpu in gpus}
        chosen = sorted(gpus, key=lambda gpu: len(holders[gpu]))[:count]
        shared = any(holders[gpu] for gpu in chosen)
        # A worker that was just being spawned when its job was killed needs a moment to see that.
        leaving = any(holder.taker_has_ended() for each in holders.values() for holder in each)
        if not (shared and leaving) or time.monotonic() > patience:
            return chosen
        time.sleep(_INTERVAL)


def _holders(folder: Path, gpu: GPU) -> list[lock.LockedError]:
    """The present leases of the GPU, each as the error that names its holder."""
    holders = []
    for path in folder.glob(f"{gpu.uuid}.*"):
        try:
            lock.acquire(path).close()
        except lock.LockedError as error:
            holders.append(error)
    return holders


def _hold(folder: Path, gpu: GPU) -> Lease:
    for number in itertools.count():
        with contextlib.suppress(lock.LockedError):
            return Lease(gpu, lock.acquire(folder / f"{gpu.uuid}.{number}"))
    raise AssertionError  # count() has no end
