"""The engine alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import bare_engine


class Counted:
    """A network that counts what it is given."""

    batch = 4

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.in_flight = 0

    def start(self, photos: Sequence[np.ndarray]) -> int:
        self.in_flight += 1
        assert self.in_flight <= 2
        self.shapes.append(np.stack(photos).shape)
        return len(photos)

    def finish(self, batch: int) -> np.ndarray:
        self.in_flight -= 1
        return np.zeros((batch, 5, 1), np.float32)


def test_batches_are_filled_up_with_the_first_photos() -> None:
    photos = [np.full((1, 1, 3), value) for value in range(5)]
    values = [[int(photo[0, 0, 0]) for photo in batch] for batch in bare_engine.full_batches(photos, 4)]
    assert values == [[0, 1, 2, 3], [4, 0, 1, 2]]
    assert len(bare_engine.full_batches(photos[:1], 4)[0]) == 4


def test_each_rectangle_is_warmed_up_and_then_goes_in_full_batches() -> None:
    photos = [np.zeros((32, 64, 3), np.uint8)] * 5 + [np.zeros((64, 32, 3), np.uint8)] * 4
    network = Counted()
    assert bare_engine.drive(network, bare_engine.by_rectangle(photos)) > 0
    wide, high = (4, 32, 64, 3), (4, 64, 32, 3)
    assert network.shapes == [wide] * 3 + [high] * 3 + [wide] * 2 + [high]
    assert network.in_flight == 0
