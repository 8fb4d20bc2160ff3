from __future__ import annotations

from typing import Literal

import pytest

from zipcrop.detect import device
from zipcrop.errors import MachineError
from zipcrop.process import gpu
from zipcrop.process.gpu import GPU
from zipcrop.settings import DeviceSetting, EngineSetting, Speed


def speed(device: DeviceSetting, engine: EngineSetting) -> Speed:
    return Speed(device, engine, batch=16, workers="auto", gpus_per_archive=1)


TWO = [GPU("0", "GPU-a"), GPU("1", "GPU-b")]


@pytest.mark.parametrize(
    ("gpus", "wanted_device", "wanted_engine", "chosen"),
    [
        ([], "auto", "auto", ("cpu", "openvino")),
        ([], "cpu", "torch", ("cpu", "torch")),
        (TWO, "auto", "auto", ("cuda", "torch")),
        (TWO, "auto", "torch", ("cuda", "torch")),
        (TWO, "auto", "openvino", ("cpu", "openvino")),
        (TWO, "cpu", "auto", ("cpu", "openvino")),
        (TWO, "cuda", "auto", ("cuda", "torch")),
    ],
)
def test_choice(
    gpus: list[GPU],
    wanted_device: DeviceSetting,
    wanted_engine: EngineSetting,
    chosen: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu, "visible", lambda: gpus)
    assert device.choose(speed(wanted_device, wanted_engine), "f32") == chosen


def test_int8_is_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "visible", lambda: TWO)
    assert device.choose(speed("auto", "auto"), "int8") == ("cpu", "openvino")


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "visible", list)
    with pytest.raises(MachineError, match="no GPU to be seen; set device to auto or cpu"):
        device.choose(speed("cuda", "auto"), "f32")


@pytest.mark.parametrize(
    ("workers", "threads", "gpus", "count"),
    [
        (3, 8, 0, 3),
        ("auto", 1, 0, 1),
        ("auto", 8, 0, 1),
        ("auto", 9, 0, 1),
        ("auto", 14, 0, 2),
        ("auto", 64, 0, 8),
        ("auto", 2, 4, 4),
        ("auto", 64, 4, 8),
        (2, 64, 2, 2),
    ],
)
def test_worker_count(workers: int | Literal["auto"], threads: int, gpus: int, count: int) -> None:
    assert device.worker_count(workers, threads, gpus) == count
