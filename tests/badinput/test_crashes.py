"""Photos that crash their decoder, and engines that crash, in real workers."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import encoded, make_zip

from zipcrop import engine, image, pool, quantization, worker
from zipcrop.archive import Limits
from zipcrop.errors import MachineError

Crop = Callable[..., list[dict[str, str]]]
GOOD = encoded("zidane", scale=0.3)
DEADLY = encoded("bus", scale=0.3)


HANGING = encoded("empty", scale=0.3)
HUGE = encoded("empty", scale=0.4)


def decode(data: bytes, reduction: int = 1, original: Callable[[bytes, int], np.ndarray] = image.decode) -> np.ndarray:
    if data == DEADLY:
        signal.raise_signal(signal.SIGSEGV)
    if data == HANGING:
        re.match("(a*)*b", "a" * 60)  # for ever, with Python's lock
    if data == HUGE:
        raise MemoryError
    return original(data, reduction)


def worker_whose_decoder_crashes(connection: Connection, *arguments: Any) -> None:
    image.decode = decode
    worker.main(connection, *arguments)


def worker_whose_engine_crashes(connection: Connection, *arguments: Any) -> None:
    from zipcrop.engine_openvino import OpenVINOEngine

    OpenVINOEngine.detect = lambda self, batch: signal.raise_signal(signal.SIGILL)  # type: ignore[method-assign]
    worker.main(connection, *arguments)


@pytest.mark.parametrize(
    ("members", "deadly", "workers"),
    [(1, {0}, 1), (4, {0}, 2), (20, {17}, 1), (20, {3, 4, 19}, 2)],
    ids=["alone", "before the engine has worked", "after it", "several"],
)
def test_a_photo_that_crashes_its_decoder_costs_itself_alone(
    members: int, deadly: set[int], workers: int, tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.worker, "main", worker_whose_decoder_crashes)
    contents = [(f"{index}.jpg", DEADLY if index in deadly else GOOD) for index in range(members)]
    rows = crop(make_zip(tmp_path / "deadly.zip", contents), workers=workers)
    outcomes = {int(row["member_index"]): (row["status"], row["reason"]) for row in rows}
    failed = ("failed", "the process that worked on it was killed by SIGSEGV")
    assert outcomes == {index: failed if index in deadly else ("person", "") for index in range(members)}


def test_photos_that_hang_or_need_too_much_memory_cost_themselves_alone(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.worker, "main", worker_whose_decoder_crashes)
    odd = {
        3: (HANGING, "was not decoded and written within 2 s (limits.seconds)"),
        8: (HUGE, "the process that worked on it ran out of memory"),
        11: (HANGING, "was not decoded and written within 2 s (limits.seconds)"),
    }
    contents = [(f"{index}.jpg", odd[index][0] if index in odd else GOOD) for index in range(16)]
    rows = crop(make_zip(tmp_path / "odd.zip", contents), limits__seconds=2)
    outcomes = {int(row["member_index"]): (row["status"], row["reason"]) for row in rows}
    good = dict.fromkeys(range(16), ("person", ""))
    assert outcomes == {**good, **{index: ("failed", reason) for index, (_, reason) in odd.items()}}


def test_an_engine_that_crashes_fails_the_job_and_no_member(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.worker, "main", worker_whose_engine_crashes)
    archive = make_zip(tmp_path / "good.zip", [(f"{index}.jpg", GOOD) for index in range(8)])
    with pytest.raises(MachineError, match="a worker process was killed by SIGILL while it loaded the engine; see "):
        crop(archive)
    assert not (tmp_path / "output" / "manifests").exists()


class EngineThatMustBeginAlone:
    concurrency = 4
    batch = 1
    calls = 0
    worked = False

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        self.calls += 1
        if not self.worked:
            if self.calls > 1:
                raise RuntimeError("used by two threads before it has worked")
            time.sleep(0.5)
            self.worked = True
        return [np.zeros((0, 5), np.float32)] * len(batch)


def worker_with_an_engine_that_must_begin_alone(connection: Connection, *arguments: Any) -> None:
    engine.load = lambda *options: EngineThatMustBeginAlone()
    worker.main(connection, *arguments)


def test_an_engine_is_first_used_by_one_thread_alone(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.worker, "main", worker_with_an_engine_that_must_begin_alone)
    archive = make_zip(tmp_path / "good.zip", [(f"{index}.jpg", GOOD) for index in range(40)])
    assert [row["status"] for row in crop(archive)] == ["no_person"] * 40


def network_input(data: bytes, size: quantization.InputSize) -> np.ndarray | None:
    image.decode = decode
    return quantization.network_input(data, size)


def test_a_photo_that_crashes_its_decoder_does_not_stop_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "network_input", network_input)
    contents = [(f"{index}.jpg", DEADLY if index in (1, 4) else GOOD) for index in range(6)]
    archive = make_zip(tmp_path / "deadly.zip", contents)
    with quantization.IsolatedDecoder(quantization.InputSize(320, 32, 100)) as decoder:
        inputs = list(quantization.sample([str(archive)], Limits(256, 100, 1000), decoder, 10))
    assert [pixels.shape for pixels in inputs] == [(1, 3, 192, 320)] * 4
