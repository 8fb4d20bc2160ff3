from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.files import open_files
from zipcrop.detect import slots
from zipcrop.detect.protocol import MOST_SLOTS
from zipcrop.detect.slots import Slots

SIZE = slots.slot_bytes(64)


@pytest.fixture
def made() -> Iterator[tuple[Slots, int]]:
    """Three slots, and the descriptor of their file."""
    ours, descriptor = slots.create(3, SIZE)
    yield ours, descriptor
    os.close(descriptor)


def memfd(size: int, seals: int = fcntl.F_SEAL_SHRINK) -> int:
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


@pytest.mark.parametrize(
    ("image_size", "strides"), [(32, (2, 4)), (320, (8, 16, 32)), (640, (2, 4, 8)), (8192, (4, 8))]
)
def test_a_slot_holds_the_largest_photo_and_what_is_said_of_it(image_size: int, strides: tuple[int, ...]) -> None:
    size = slots.slot_bytes(image_size)
    anchors = sum((image_size // stride) ** 2 for stride in strides)
    assert size >= max(3 * image_size**2, anchors * 5 * 4)
    assert size % mmap.PAGESIZE == 0


def test_what_one_side_writes_the_other_reads_and_slots_do_not_overlap(made: tuple[Slots, int]) -> None:
    ours, descriptor = made
    theirs = Slots(descriptor, 3, SIZE)
    for slot in range(3):
        ours.pixels(slot, 64, 64)[:] = slot + 1
    for slot in range(3):
        assert theirs.pixels(slot, 64, 64).shape == (64, 64, 3)
        assert (theirs.pixels(slot, 64, 64) == slot + 1).all()
    wanted = np.arange(5 * 84, dtype=np.float32).reshape(5, 84)
    theirs.prediction(1, 84)[:] = wanted
    np.testing.assert_array_equal(ours.prediction(1, 84), wanted)
    assert (ours.pixels(0, 64, 64) == 1).all()
    assert (ours.pixels(2, 64, 64) == 3).all()


@pytest.mark.parametrize(
    ("slot", "height", "width"), [(3, 32, 32), (-1, 32, 32), (0, 0, 32), (0, 128, 128), (2, 65, 999)]
)
def test_what_is_not_in_a_slot_is_refused(made: tuple[Slots, int], slot: int, height: int, width: int) -> None:
    ours, _ = made
    with pytest.raises(ValueError, match="larger than a slot"):
        ours.pixels(slot, height, width)
    with pytest.raises(ValueError, match="larger than a slot"):
        ours.prediction(slot, height * width)


def test_the_file_cannot_become_smaller(made: tuple[Slots, int]) -> None:
    _, descriptor = made
    for size in (0, 3 * SIZE - 1, 4 * SIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW])
def test_a_file_that_could_become_smaller_is_refused(seals: int) -> None:
    descriptor = memfd(SIZE, seals)
    with pytest.raises(ValueError, match="could go"):
        Slots(descriptor, 1, SIZE)
    os.close(descriptor)


@pytest.mark.parametrize(("count", "size"), [(2, SIZE), (1, SIZE + 1)])
def test_a_file_that_is_too_small_is_refused(count: int, size: int) -> None:
    descriptor = memfd(SIZE)
    Slots(descriptor, 1, SIZE)
    with pytest.raises(ValueError, match="could go"):
        Slots(descriptor, count, size)
    os.close(descriptor)


@pytest.mark.parametrize(("count", "size"), [(0, SIZE), (-1, SIZE), (MOST_SLOTS + 1, 1), (1, 0), (1, -1), (1, 1 << 50)])
def test_odd_numbers_are_refused(count: int, size: int) -> None:
    descriptor = memfd(SIZE)
    with pytest.raises(ValueError, match="odd slots"):
        Slots(descriptor, count, size)
    os.close(descriptor)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    reading, writing = os.pipe()
    with (tmp_path / "file").open("r+b") as file:
        for descriptor in (file.fileno(), reading):
            with pytest.raises(ValueError, match="could go"):
                Slots(descriptor, 1, SIZE)
    os.close(reading)
    os.close(writing)


def test_nothing_is_left_open_when_slots_are_gone() -> None:
    before = open_files()
    ours, descriptor = slots.create(3, SIZE)
    view = ours.pixels(1, 64, 64)
    os.close(descriptor)
    del ours
    view[:] = 7  # as long as it is in use, it is there
    assert (view == 7).all()
    del view
    assert open_files() == before
