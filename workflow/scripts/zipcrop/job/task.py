"""What the crop job and its workers have to do: the job, as its rule describes it, and the task of each worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop.detect import protocol

if TYPE_CHECKING:
    from zipcrop.archive.directory import State
    from zipcrop.detect.device import Device, EngineName
    from zipcrop.detect.model import Model
    from zipcrop.settings import Settings, Speed


_BYTES_PER_THREAD = 128 * 1024**2
"""A photo of 12 megapixels holds about 42 MB while it is decoded, inferred and written, one of 48 about 160."""
_LEAST_BYTES = {"cpu": 2 * _BYTES_PER_THREAD, "cuda": 8 * _BYTES_PER_THREAD}
"""A GPU takes whole batches."""
_FILE_BYTES_PER_THREAD = 32 * 1024**2
_BYTES_OF_SLOTS = 512 * 1024**2
"""Of all workers of a job on a GPU: what they have in flight there."""


@dataclass(frozen=True)
class Job:
    """What to do with one archive."""

    archive: str
    zip: str
    """Path of the archive, or its URL in an object store."""
    fingerprint: str
    """The archive's when the run began."""
    model: Path
    """JSON of the prepared model."""
    output: Path
    log: Path
    settings: Settings
    speed: Speed
    threads: int
    """Cores that the job has to itself."""
    engine_logs: Path
    """Folder of the logs of engine processes."""
    gpus: int = 1
    """How many GPUs the run may use at a time."""
    refused: str = ""
    """Why the archive is not opened; empty if it is. See `source.RefusedZip`."""


@dataclass(frozen=True)
class Task:
    """The job, and what it has decided for its workers."""

    job: Job
    model: Model
    device: Device
    engine: EngineName
    threads: int
    """Cores that each worker has to itself."""
    staging: Path
    """Folder that stands for the output folder until the results are published."""
    state: State
    """The archive's when the job began."""
    digest: str
    """Of the archive's directory, as the job has read it."""
    workers_per_gpu: int = 1

    @property
    def memory(self) -> int:
        """The bytes that photos of a worker may hold at the same time, from decoding to writing."""
        return max(_LEAST_BYTES[self.device], self.threads * _BYTES_PER_THREAD)

    @property
    def memory_of_files(self) -> int:
        """The bytes of files that a worker has read and not yet decoded."""
        return self.threads * _FILE_BYTES_PER_THREAD

    @property
    def slots(self) -> int:
        """How many photos a worker may have at the engine process of a GPU: with the other workers, enough that batches
        fill up, though photos have many shapes."""
        photo = 3 * self.job.settings.image_size**2
        return max(1, min(protocol.MOST_SLOTS, _BYTES_OF_SLOTS // photo) // self.workers_per_gpu)

    @property
    def chunk(self) -> int:
        """How many members go to a worker together: enough to fill its slots at a GPU, and to keep the threads of a CPU
        busy. After a kill, a worker's members are done again, so there are no more than that."""
        return max(8, 2 * self.threads, self.slots if self.device == "cuda" else 0)
