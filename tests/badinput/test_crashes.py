"""Photos that crash their decoder, and engines that crash, in real workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import workers
from images import jpeg_of_empty_scans
from workers import DEADLY, HANGING, HANGING_GREY, HUGE, blank

from helpers.files import make_zip
from helpers.job import Crop, Rows, replace_workers
from helpers.photos import encoded
from zipcrop.errors import MachineError
from zipcrop.image import codec
from zipcrop.prepare import quantize
from zipcrop.process.watchdog import Watchdog
from zipcrop.settings import Limits

if TYPE_CHECKING:
    import numpy as np

GOOD = encoded("zidane", scale=0.3)
PERSON = ("person", "")
NO_PERSON = ("no_person", "")
CRASHED = ("failed", "the process that worked on it was killed by SIGSEGV")


def outcomes(rows: Rows) -> dict[int, tuple[str, str]]:
    """Status and reason of every member."""
    return {int(row["member_index"]): (row["status"], row["reason"]) for row in rows}


@pytest.mark.parametrize(
    ("members", "deadly", "count"),
    [(1, {0}, 1), (4, {0}, 2), (20, {17}, 1)],
    ids=["alone", "before the engine has worked", "after it"],
)
def test_a_photo_that_crashes_its_decoder_costs_itself_alone(
    members: int, deadly: set[int], count: int, tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_workers(monkeypatch, workers.worker_whose_decoder_crashes)
    contents = [(f"{index}.jpg", DEADLY if index in deadly else GOOD) for index in range(members)]
    found = outcomes(crop(make_zip(tmp_path / "deadly.zip", contents), workers=count))
    assert found == {index: CRASHED if index in deadly else PERSON for index in range(members)}


def test_several_photos_that_crash_their_decoder_cost_themselves_alone(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_workers(monkeypatch, workers.worker_without_an_engine_whose_decoder_crashes)
    deadly = {3, 4, 19}
    contents = [(f"{index}.jpg", DEADLY if index in deadly else GOOD) for index in range(20)]
    found = outcomes(crop(make_zip(tmp_path / "deadly.zip", contents), workers=2))
    assert found == {index: CRASHED if index in deadly else NO_PERSON for index in range(20)}


def test_photos_that_hang_or_need_too_much_memory_cost_themselves_alone(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_workers(monkeypatch, workers.worker_without_an_engine_whose_decoder_crashes)
    odd = {
        3: (HANGING, "was not decoded and written within 2 s (limits.seconds)"),
        8: (HUGE, "the process that worked on it ran out of memory"),
        11: (HANGING, "was not decoded and written within 2 s (limits.seconds)"),
    }
    contents = [(f"{index}.jpg", odd[index][0] if index in odd else GOOD) for index in range(16)]
    found = outcomes(crop(make_zip(tmp_path / "odd.zip", contents), limits__seconds=2))
    good = dict.fromkeys(range(16), NO_PERSON)
    assert found == {**good, **{index: ("failed", reason) for index, (_, reason) in odd.items()}}


NO_TIME_LEFT = (
    "is not decoded: it declares far more than its bytes hold, and all such members of an archive together may take "
    "{:g} s (5 times limits.seconds)"
)


def test_photos_of_very_many_pixels_for_their_bytes_have_little_time_together(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watchdog, "hanging", lambda self: set())  # it looks each second, and 0.02 are too few
    replace_workers(monkeypatch, workers.worker_for_which_no_time_is_free)
    contents = [(f"{index}.png", blank(200) if index % 4 else GOOD) for index in range(60)]
    found = outcomes(crop(make_zip(tmp_path / "blank.zip", contents), workers=2, limits__seconds=0.02))
    assert {found[index] for index in range(0, 60, 4)} == {PERSON}
    # Two workers begin with two chunks of eight each; whichever is first, a photo of its first ones still has time.
    assert NO_PERSON in {found[index] for index in (1, 2, 3, 17, 18, 19)}
    late = ("failed", NO_TIME_LEFT.format(0.1))
    assert found[59] == late
    assert set(found.values()) == {PERSON, NO_PERSON, late}


@pytest.mark.slow
def test_what_a_killed_worker_has_spent_is_not_forgotten(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_workers(monkeypatch, workers.worker_whose_decoder_crashes)
    contents = [(f"{index}.png", GOOD if index % 3 else blank(HANGING_GREY)) for index in range(24)]
    found = outcomes(crop(make_zip(tmp_path / "hanging.zip", contents), limits__seconds=2))
    assert {outcome for index, outcome in found.items() if index % 3} == {PERSON}
    late = [found[index][1] == NO_TIME_LEFT.format(10) for index in range(0, 24, 3)]
    hung = [found[index][1] == "was not decoded and written within 2 s (limits.seconds)" for index in range(0, 24, 3)]
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
    replace_workers(monkeypatch, workers.worker_whose_engine_crashes)
    archive = make_zip(tmp_path / "good.zip", [(f"{index}.jpg", GOOD) for index in range(8)])
    with pytest.raises(MachineError, match="a worker process was killed by SIGILL while it loaded the engine; see "):
        crop(archive)
    assert not (tmp_path / "output" / "manifests").exists()


def test_an_engine_is_first_used_by_one_thread_alone(
    tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_workers(monkeypatch, workers.worker_with_an_engine_that_must_begin_alone)
    archive = make_zip(tmp_path / "good.zip", [(f"{index}.jpg", GOOD) for index in range(40)])
    assert [row["status"] for row in crop(archive)] == ["no_person"] * 40


really_network_input = quantize.network_input


def network_input(photo: tuple[str, bytes], size: quantize.InputSize) -> np.ndarray | None:
    codec.decode = workers.decode
    return really_network_input(photo, size)


def test_photos_that_crash_their_decoder_or_hang_in_it_do_not_stop_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "network_input", network_input)
    contents = [(f"{index}.jpg", {1: DEADLY, 4: HANGING}.get(index, GOOD)) for index in range(6)]
    archive = make_zip(tmp_path / "deadly.zip", contents)
    with quantize.IsolatedDecoder(quantize.InputSize(320, 32, 100), 3) as decoder:
        inputs = list(quantize.sample([str(archive)], Limits(256, 100, 1000, 120), decoder, 10))
    assert [pixels.shape for pixels in inputs] == [(1, 3, 192, 320)] * 4
