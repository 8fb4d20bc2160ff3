"""What a job works on: the cores of a CPU, or GPUs with their engine processes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zipcrop.detect import device
from zipcrop.detect.lease import Engines, Spec
from zipcrop.errors import EngineHangs, MachineError
from zipcrop.process import gpu

if TYPE_CHECKING:
    from zipcrop.detect.device import Device, EngineName
    from zipcrop.detect.lease import Address
    from zipcrop.detect.model import Model
    from zipcrop.job.task import Job
    from zipcrop.process.progress import Progress


@dataclass(frozen=True)
class Hardware:
    """What a job works on, or will."""

    device: Device
    engine: EngineName
    workers: int
    addresses: Sequence[Address] = ()
    """Of engine processes; empty on a CPU, and before there is work for them."""

    @property
    def gpus(self) -> list[str]:
        """Their UUIDs."""
        return [address.gpu.uuid for address in self.addresses]

    @property
    def workers_per_gpu(self) -> int:
        """The most workers that an engine process gets from this job."""
        return -(-self.workers // max(1, len(self.addresses)))


class Choice:
    """Chooses the hardware of a job: GPUs where there are any that work, as far as the settings leave it open."""

    def __init__(self, job: Job, model: Model, progress: Progress) -> None:
        """Raises MachineError where a GPU is asked for and there is none."""
        self._job = job
        self._progress = progress
        self._speed = job.speed
        self._spec = Spec.of(model, job.settings.image_size, job.speed.batch)
        if job.gpus == 0 and self._may_do_without:
            self._speed = dataclasses.replace(self._speed, device="cpu")
        self._device, self._engine = device.choose(self._speed, job.settings.precision)
        if self._device == "cuda":
            if job.gpus == 0:
                raise MachineError("device is cuda, but the run may use no GPU; give it --resources gpu=1, or more")
            self._engines = Engines(self._spec, job.engine_logs)
            self._gpus = gpu.visible()
            self._leave_out_unusable()

    @property
    def _may_do_without(self) -> bool:
        return self._speed.device == "auto"

    @contextlib.contextmanager
    def lease(self) -> Iterator[Hardware]:
        """The hardware for the `with` block; engine processes of GPUs have been started. Raises MachineError.

        One that hangs within the block is killed, so that the next job gets another one.
        """
        with contextlib.ExitStack() as leases:
            addresses: Sequence[Address] = ()
            if self._device == "cuda":
                wanted = min(self._speed.gpus_per_archive, self._job.gpus)
                count = wanted if self._speed.workers == "auto" else min(wanted, self._speed.workers)
                addresses = leases.enter_context(self._engines.lease(self._gpus, count, self._job.gpus))
            hardware = self._hardware(addresses)
            if addresses:
                self._progress.log(f"on {', '.join(hardware.gpus)}")
            try:
                yield hardware
            except EngineHangs as error:
                if error.address is not None:
                    self._engines.kill(error.address)
                raise

    def planned(self) -> Hardware:
        """The hardware, with nothing leased."""
        return self._hardware(())

    def _hardware(self, addresses: Sequence[Address]) -> Hardware:
        workers = device.worker_count(self._speed.workers, self._job.threads, len(addresses))
        return Hardware(self._device, self._engine, workers, addresses)

    def has_worked(self, address: Address) -> bool:
        """Whether the GPU at `address` has worked in this run."""
        return self._engines.has_worked(address.gpu)

    def do_without(self, address: Address, why: str) -> None:
        """Leaves the GPU at `address` alone, since it cannot be used, and says so once in a run. Takes the CPU where no
        other GPU is left. Raises MachineError where the settings ask for a GPU."""
        is_first = self._engines.mark_unusable(address.gpu, why)
        self._leave_out_unusable()
        rest = "on the CPU" if self._device == "cpu" else "without it"
        (self._progress.say if is_first else self._progress.log)(f"warning: {why}; the run goes on {rest}")

    def _leave_out_unusable(self) -> None:
        why = [self._engines.why_unusable(each) for each in self._gpus]
        self._gpus = [each for each, reason in zip(self._gpus, why, strict=True) if not reason]
        if self._gpus:
            return
        if not self._may_do_without:
            raise MachineError(f"{why[-1]}; set device: cpu, or see that CUDA works, and run again")
        self._progress.log("on the CPU, since no GPU can be used")
        self._speed = dataclasses.replace(self._speed, device="cpu")
        self._device, self._engine = device.choose(self._speed, self._job.settings.precision)
