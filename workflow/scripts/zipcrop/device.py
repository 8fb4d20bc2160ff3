"""Which device and which engine do the work. Nothing here imports torch."""

from __future__ import annotations

import os
from typing import Literal

from zipcrop.errors import MachineError

Device = Literal["cpu", "cuda"]
Engine = Literal["openvino", "torch"]


def visible_gpus() -> int:
    """How many NVIDIA GPUs this process may use, as the driver tells and `CUDA_VISIBLE_DEVICES` restricts."""
    import pynvml

    try:
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    named = [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return min(count, len(named))


def choose(device: str, engine: str, precision: str) -> tuple[Device, Engine]:
    """The device and engine for the settings `device` and `engine`, either of which may be `auto`, and `precision`.

    Raises MachineError where a GPU is asked for and there is none.
    """
    gpu = device != "cpu" and engine != "openvino" and precision != "int8" and visible_gpus() > 0
    if device == "cuda" and not gpu:
        raise MachineError("device is cuda, but there is no GPU to be seen; set device to auto or cpu")
    if gpu:
        return "cuda", "torch"
    return "cpu", "torch" if engine == "torch" else "openvino"


def worker_count(workers: int | str, device: Device, threads: int) -> int:
    """Processes for an archive on `threads` cores, for the setting `workers`."""
    if workers != "auto":
        return int(workers)
    if device == "cuda":
        # Each process has its own CUDA context; a few keep one GPU fed with decoded photos.
        return max(1, min(4, threads // 4))
    # Threads of one process share the decoding well up to about eight; beyond, Python itself is in the way.
    return max(1, round(threads / 8))
