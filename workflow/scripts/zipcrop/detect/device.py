"""Which device and which engine do the work. Nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from zipcrop.errors import MachineError
from zipcrop.process import gpu

if TYPE_CHECKING:
    from zipcrop.settings import Precision, Speed

Device = Literal["cpu", "cuda"]
EngineName = Literal["openvino", "torch"]


def choose(speed: Speed, precision: Precision) -> tuple[Device, EngineName]:
    """The device and the engine for the settings `speed`, either of which may be `auto` there, and `precision`.

    Raises MachineError where a GPU is asked for and there is none.
    """
    on_gpu = speed.device != "cpu" and speed.engine != "openvino" and precision != "int8" and bool(gpu.visible())
    if speed.device == "cuda" and not on_gpu:
        raise MachineError("device is cuda, but there is no GPU to be seen; set device to auto or cpu")
    if on_gpu:
        return "cuda", "torch"
    return "cpu", "torch" if speed.engine == "torch" else "openvino"


def worker_count(workers: int | Literal["auto"], threads: int, gpus: int) -> int:
    """Processes for an archive on `threads` cores and `gpus` GPUs, for the setting `workers`."""
    if workers != "auto":
        return workers
    # Threads of one process share the decoding well up to about eight; beyond, Python itself is in the way. Each engine
    # process has at least one worker.
    return max(1, gpus, round(threads / 8))
