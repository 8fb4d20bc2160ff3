from __future__ import annotations

import pytest

from zipcrop import device
from zipcrop.errors import MachineError


@pytest.mark.parametrize(
    ("gpus", "wanted_device", "wanted_engine", "chosen"),
    [
        (0, "auto", "auto", ("cpu", "openvino")),
        (0, "cpu", "torch", ("cpu", "torch")),
        (2, "auto", "auto", ("cuda", "torch")),
        (2, "auto", "torch", ("cuda", "torch")),
        (2, "auto", "openvino", ("cpu", "openvino")),
        (2, "cpu", "auto", ("cpu", "openvino")),
        (2, "cuda", "auto", ("cuda", "torch")),
    ],
)
def test_choice(
    gpus: int, wanted_device: str, wanted_engine: str, chosen: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "visible_gpus", lambda: gpus)
    assert device.choose(wanted_device, wanted_engine, "f32") == chosen


def test_int8_is_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "visible_gpus", lambda: 2)
    assert device.choose("auto", "auto", "int8") == ("cpu", "openvino")


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "visible_gpus", lambda: 0)
    with pytest.raises(MachineError, match="no GPU to be seen; set device to auto or cpu"):
        device.choose("cuda", "auto", "f32")


@pytest.mark.parametrize(("visible", "count"), [(None, 4), ("", 0), ("-1", 0), ("2", 1), ("0,GPU-abc", 2)])
def test_visible_gpus_obey_the_environment(visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.visible_gpus() == count


@pytest.mark.parametrize(
    ("workers", "kind", "threads", "count"),
    [
        (3, "cpu", 8, 3),
        ("auto", "cpu", 1, 1),
        ("auto", "cpu", 8, 1),
        ("auto", "cpu", 9, 1),
        ("auto", "cpu", 14, 2),
        ("auto", "cpu", 64, 8),
        ("auto", "cuda", 2, 1),
    ],
)
def test_worker_count(workers: int | str, kind: device.Device, threads: int, count: int) -> None:
    assert device.worker_count(workers, kind, threads) == count
