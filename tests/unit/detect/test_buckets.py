from __future__ import annotations

import threading
from dataclasses import dataclass

from zipcrop.detect.buckets import Buckets


@dataclass
class Item:
    name: int
    shape: tuple[int, int]


def test_batches_have_one_shape_and_the_longest_wait_comes_first() -> None:
    wide, tall = (384, 640), (640, 384)
    buckets: Buckets[Item] = Buckets()
    for name, shape in enumerate([wide, tall, wide, wide, wide, tall]):
        buckets.put(Item(name, shape))
    buckets.close()
    assert [[item.name for item in buckets.take(3)] for _ in range(4)] == [[0, 2, 3], [1, 5], [4], []]


def test_take_waits_for_an_item_and_not_for_a_full_batch() -> None:
    buckets: Buckets[Item] = Buckets()
    threading.Timer(0.05, buckets.put, [Item(1, (32, 32))]).start()
    assert [item.name for item in buckets.take(16)] == [1]


def test_close_wakes_all_takers() -> None:
    buckets: Buckets[Item] = Buckets()
    results: list[list[Item]] = []
    takers = [threading.Thread(target=lambda: results.append(buckets.take(16))) for _ in range(3)]
    for taker in takers:
        taker.start()
    buckets.close()
    for taker in takers:
        taker.join(timeout=10)
    assert results == [[], [], []]
