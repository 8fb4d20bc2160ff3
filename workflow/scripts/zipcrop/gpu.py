"""GPUs: which ones this process may use, and leases, by which every job gets one of its own.

Snakemake counts GPUs, and does not say which one is whose (snakemake#281). Nothing here imports torch or touches CUDA.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zipcrop import lock
from zipcrop.errors import MachineError

LEASES = Path(f"/tmp/zipcrop-{os.getuid()}/gpus")
"""One place for all runs of a user on a machine; not TMPDIR, which may differ from run to run."""
_INTERVAL = 0.01


@dataclass(frozen=True)
class GPU:
    """An NVIDIA GPU."""

    name: str
    """What `CUDA_VISIBLE_DEVICES` calls it."""
    uuid: str
    """What it is called in every process on the machine, whatever is visible there."""


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
        if uuid is None:  # CUDA does not look at what follows, either
            break
        gpus.setdefault(uuid, GPU(name, uuid))
    return list(gpus.values())


def _find(name: str, uuids: list[str]) -> str | None:
    """The UUID of the GPU that `CUDA_VISIBLE_DEVICES` calls `name`: by number, by the beginning of its UUID, or a part
    of a GPU (MIG), which the driver lists elsewhere."""
    if name.isdecimal():
        return uuids[int(name)] if int(name) < len(uuids) else None
    if name.startswith("MIG-") and uuids:
        return name
    return next((uuid for uuid in uuids if name.startswith("GPU-") and uuid.startswith(name)), None)


@contextlib.contextmanager
def lease(gpus: Sequence[GPU], count: int, folder: Path = LEASES) -> Iterator[list[GPU]]:
    """`count` of `gpus`, or all if there are no more, for the `with` block: those that the fewest other leases hold,
    which is none as long as there are enough GPUs for all.

    A lease is a lock on a file in `folder`, which the kernel frees however the process ends. Raises MachineError where
    the folder cannot be used.
    """
    with contextlib.ExitStack() as leases:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _turn(folder / "turn"):
                chosen = sorted(gpus, key=lambda gpu: _holders(folder, gpu))[:count]
                for gpu in chosen:
                    leases.enter_context(_hold(folder, gpu))
        except OSError as error:
            raise MachineError.from_os_error(error, f"leasing a GPU in {folder}") from None
        yield chosen


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Only one process at a time chooses, lest two find the same GPU free."""
    while True:
        try:
            turn = lock.acquire(path)
        except lock.LockedError:
            time.sleep(_INTERVAL)
        else:
            break
    with turn:
        yield


def _holders(folder: Path, gpu: GPU) -> int:
    """How many leases hold the GPU now."""
    return sum(_is_held(path) for path in folder.glob(f"{gpu.uuid}.*"))


def _is_held(path: Path) -> bool:
    try:
        lock.acquire(path).close()
    except lock.LockedError:
        return True
    return False


def _hold(folder: Path, gpu: GPU) -> contextlib.AbstractContextManager[object]:
    for number in itertools.count():
        with contextlib.suppress(lock.LockedError):
            return lock.acquire(folder / f"{gpu.uuid}.{number}")
    raise AssertionError  # count() has no end
