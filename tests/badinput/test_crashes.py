"""Photos that crash their decoder, and engines that crash, in real workers."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from images import jpeg_of_empty_scans

from helpers.support import encoded, make_zip
from zipcrop.archive.reader import Limits
from zipcrop.detect import engine
from zipcrop.errors import MachineError
from zipcrop.image import codec
from zipcrop.image.formats import Header
from zipcrop.job import pool, worker
from zipcrop.prepare import quantize
from zipcrop.process import overtime

Crop = Callable[..., list[dict[str, str]]]
GOOD = encoded("zidane", scale=0.3)
DEADLY = encoded("bus", scale=0.3)


HANGING = encoded("empty", scale=0.3)
HUGE = encoded("empty", scale=0.4)
BLANK = cv2.imencode(".png", np.full((3000, 3000), 200, np.uint8))[1].tobytes()
"""Nine megapixels in nine kilobytes."""
BLANK_AND_HANGING = cv2.imencode(".png", np.full((3000, 3000), 100, np.uint8))[1].tobytes()


def decode(
    data: bytes, header: Header, reduction: int = 1, original: Callable[..., np.ndarray] = codec.decode
) -> np.ndarray:
    if data == DEADLY:
        signal.raise_signal(signal.SIGSEGV)
    if data in (HANGING, BLANK_AND_HANGING):
        re.match("(a*)*b", "a" * 60)  # for ever, with Python's lock
    if data == HUGE:
        raise MemoryError
    return original(data, header, reduction)


def worker_whose_decoder_crashes(connection: Connection, *arguments: Any) -> None:
    codec.decode = decode
    worker.main(connection, *arguments)


def worker_whose_engine_crashes(connection: Connection, *arguments: Any) -> None:
    from zipcrop.detect.openvino import OpenVINOEngine

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


NO_TIME_LEFT = (
    "is not decoded: it declares far more than its bytes hold, and all such members of an archive together may take "
    "{:g} s (5 times limits.seconds)"
)


def worker_for_which_no_time_is_free(connection: Connection, *arguments: Any) -> None:
    overtime._FREE = 0.0
    worker.main(connection, *arguments)


def test_photos_of_very_many_pixels_for_their_bytes_have_little_time_together(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.Watchdog, "hanging", lambda self: set())  # it looks each second, and 0.02 are too few
    monkeypatch.setattr(pool.worker, "main", worker_for_which_no_time_is_free)
    contents = [(f"{index}.png", BLANK if index % 4 else GOOD) for index in range(60)]
    rows = crop(make_zip(tmp_path / "blank.zip", contents), workers=2, limits__seconds=0.02)
    outcomes = {int(row["member_index"]): (row["status"], row["reason"]) for row in rows}
    assert {outcomes[index] for index in range(0, 60, 4)} == {("person", "")}
    # Two workers begin with two chunks of eight each; whichever is first, a photo of its first ones still has time.
    assert ("no_person", "") in {outcomes[index] for index in (1, 2, 3, 17, 18, 19)}
    late = ("failed", NO_TIME_LEFT.format(0.1))
    assert outcomes[59] == late
    assert set(outcomes.values()) == {("person", ""), ("no_person", ""), late}


@pytest.mark.slow
def test_what_a_killed_worker_has_spent_is_not_forgotten(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.worker, "main", worker_whose_decoder_crashes)
    contents = [(f"{index}.png", GOOD if index % 3 else BLANK_AND_HANGING) for index in range(24)]
    rows = crop(make_zip(tmp_path / "hanging.zip", contents), limits__seconds=2)
    outcomes = {int(row["member_index"]): (row["status"], row["reason"]) for row in rows}
    assert {outcome for index, outcome in outcomes.items() if index % 3} == {("person", "")}
    late = [outcomes[index][1] == NO_TIME_LEFT.format(10) for index in range(0, 24, 3)]
    hung = [
        outcomes[index][1] == "was not decoded and written within 2 s (limits.seconds)" for index in range(0, 24, 3)
    ]
    assert [a or b for a, b in zip(late, hung, strict=True)] == [True] * 8
    assert 1 <= sum(hung) <= 5


def test_a_few_bytes_do_not_keep_a_job_busy(tmp_path: Path, crop: Crop) -> None:
    """Nine kilobytes of JPEGs, which took minutes to decode."""
    archive = make_zip(tmp_path / "bombs.zip", [(f"{k}.jpg", jpeg_of_empty_scans(10_000, 490 + k)) for k in range(4)])
    refused = "cannot be decoded: a JPEG of 10000x10000 pixels in {} scans is refused as a bomb"
    assert [(row["status"], row["reason"]) for row in crop(archive)] == [
        ("failed", refused.format(490 + k)) for k in range(4)
    ]


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


def network_input(data: bytes, size: quantize.InputSize) -> np.ndarray | None:
    codec.decode = decode
    return quantize.network_input(data, size)


def test_photos_that_crash_their_decoder_or_hang_in_it_do_not_stop_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "network_input", network_input)
    contents = [(f"{index}.jpg", {1: DEADLY, 4: HANGING}.get(index, GOOD)) for index in range(6)]
    archive = make_zip(tmp_path / "deadly.zip", contents)
    with quantize.IsolatedDecoder(quantize.InputSize(320, 32, 100), 3) as decoder:
        inputs = list(quantize.sample([str(archive)], Limits(256, 100, 1000), decoder, 10))
    assert [pixels.shape for pixels in inputs] == [(1, 3, 192, 320)] * 4
