"""Decoding alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bare_engine
import decoding
import photos
from decoding import Way


@pytest.mark.parametrize(
    ("cores", "spread"),
    [(1, [(1, 1)]), (2, [(1, 2), (2, 1)]), (16, [(1, 16), (4, 4), (16, 1)])],
)
def test_ways_use_all_cores(cores: int, spread: list[tuple[int, int]]) -> None:
    found = decoding.ways(cores)
    assert [(way.processes, way.threads) for way in found if way.keeps_memory] == spread
    assert len(set(found)) == 2 * len(spread)


def test_all_photos_are_decoded_by_all_processes(tmp_path: Path) -> None:
    paths = photos.write_archives(photos.made(2), tmp_path, 1, 5)
    measured = decoding.measure(Way(2, 2, keeps_memory=True), 64, paths)
    assert (measured.photos, measured.seconds > 0, measured.page_faults > 0) == (5, True, True)


def test_letterboxes_lie_in_memory_that_is_there() -> None:
    (data,) = photos.made(1)
    out = np.zeros(64 * 64 * 3, np.uint8)
    decoding.prepare(data, 64, out)
    expected = bare_engine.letterboxed(photos.decode(data), 64, 32)
    assert (out[: expected.size].reshape(expected.shape) == expected).all()
