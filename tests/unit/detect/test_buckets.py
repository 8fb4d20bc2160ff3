from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from zipcrop.detect import buckets as module
from zipcrop.detect.buckets import Buckets

WIDE, TALL, SQUARE = (384, 640), (640, 384), (640, 640)


@dataclass
class Item:
    name: int
    shape: tuple[int, int]


def filled(*shapes: tuple[int, int]) -> Buckets[Item]:
    """Buckets with an item of each shape, called by its place."""
    buckets: Buckets[Item] = Buckets()
    for name, shape in enumerate(shapes):
        buckets.put(Item(name, shape))
    return buckets


def names(items: list[Item]) -> list[int]:
    return [item.name for item in items]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What buckets take for the time, in `now`."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_batches_have_one_shape_and_the_fullest_comes_first() -> None:
    buckets = filled(TALL, WIDE, WIDE, SQUARE, WIDE, TALL)
    buckets.close()
    assert [names(buckets.take(4)) for _ in range(4)] == [[1, 2, 4], [0, 5], [3], []]


def test_of_full_ones_what_has_waited_longest_comes_first(clock: SimpleNamespace) -> None:
    buckets: Buckets[Item] = Buckets()
    for name, shape in enumerate([TALL, TALL, WIDE, WIDE, WIDE, WIDE, WIDE]):
        clock.now += 0.01
        buckets.put(Item(name, shape))
    assert [names(buckets.take(2)) for _ in range(4)] == [[0, 1], [2, 3], [4, 5], [6]]


def test_what_has_waited_too_long_comes_before_fuller_ones(clock: SimpleNamespace) -> None:
    buckets = filled(TALL)
    clock.now += module.PATIENCE + 0.1
    for name in (1, 2, 3):
        buckets.put(Item(name, WIDE))
    assert names(buckets.take(3)) == [0]
    assert names(buckets.take(3)) == [1, 2, 3]


def test_while_all_are_patient_the_order_of_coming_does_not_matter(clock: SimpleNamespace) -> None:
    buckets = filled(TALL)
    clock.now += module.PATIENCE - 0.1
    for name in (1, 2, 3):
        buckets.put(Item(name, WIDE))
    assert names(buckets.take(3)) == [1, 2, 3]


def test_take_full_takes_whole_batches_and_what_has_waited_too_long_and_never_waits(clock: SimpleNamespace) -> None:
    empty: Buckets[Item] = Buckets()
    assert empty.take_full(2) == []
    buckets = filled(TALL, WIDE, WIDE, WIDE)
    assert names(buckets.take_full(2)) == [1, 2]
    assert buckets.take_full(2) == []
    clock.now += module.PATIENCE + 0.1
    assert names(buckets.take_full(2)) == [0]
    assert names(buckets.take_full(2)) == [3]
    assert buckets.take_full(2) == []


def test_what_is_dropped_does_not_come_and_others_stay_in_order() -> None:
    buckets = filled(TALL, WIDE, WIDE, SQUARE, WIDE, WIDE)
    buckets.drop(lambda item: item.name in (0, 2, 3))
    buckets.close()
    assert [names(buckets.take(16)) for _ in range(2)] == [[1, 4, 5], []]


def test_after_all_was_dropped_take_waits() -> None:
    buckets = filled(TALL, WIDE)
    buckets.drop(lambda item: True)
    threading.Timer(0.05, buckets.put, [Item(9, WIDE)]).start()
    assert names(buckets.take(16)) == [9]


def test_take_waits_for_an_item_and_not_for_a_full_batch() -> None:
    buckets: Buckets[Item] = Buckets()
    threading.Timer(0.05, buckets.put, [Item(1, (32, 32))]).start()
    assert names(buckets.take(16)) == [1]


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


def test_each_item_comes_once_whoever_puts_takes_and_drops() -> None:
    buckets: Buckets[Item] = Buckets()
    taken: deque[int] = deque()
    shapes = [(32, 32 * wide) for wide in range(1, 6)]

    def put(first: int) -> None:
        for name in range(first, first + 500):
            buckets.put(Item(name, shapes[name % 5]))

    def take(how: Callable[[int], list[Item]]) -> None:
        while items := how(7):
            assert len({item.shape for item in items}) == 1
            taken.extend(names(items))

    takers = [threading.Thread(target=take, args=(buckets.take,)) for _ in range(3)]
    putters = [threading.Thread(target=put, args=(first,)) for first in range(0, 2000, 500)]
    for thread in takers + putters:
        thread.start()
    for _ in range(20):
        buckets.drop(lambda item: False)
        taken.extend(names(buckets.take_full(7)))
        time.sleep(0.001)
    for thread in putters:
        thread.join(timeout=60)
    buckets.close()
    for thread in takers:
        thread.join(timeout=60)
    assert sorted(taken) == list(range(2000))


def test_with_few_common_shapes_and_many_rare_ones_batches_are_fuller_than_by_age() -> None:
    """256 photos in flight, whose shapes are as those of many collections of photos; each photo taken is replaced."""
    chance = random.Random(0)
    shapes = [(640, 32 * wide) for wide in range(5, 21)]
    weights = [1 / (1 + place) for place in range(len(shapes))]

    def batches(take: Callable[[deque[Item], Buckets[Item]], int]) -> float:
        queue: deque[Item] = deque()
        buckets: Buckets[Item] = Buckets()
        sizes = []
        for _ in range(300):
            while len(queue) < 256:
                item = Item(0, chance.choices(shapes, weights)[0])
                queue.append(item)
                buckets.put(item)
            sizes.append(take(queue, buckets))
        return sum(sizes) / len(sizes)

    def fullest(queue: deque[Item], buckets: Buckets[Item]) -> int:
        taken = buckets.take(32)
        for _ in taken:
            queue.popleft()
        return len(taken)

    def oldest(queue: deque[Item], buckets: Buckets[Item]) -> int:
        taken = [item for item in queue if item.shape == queue[0].shape][:32]
        for item in taken:
            queue.remove(item)
        return len(taken)

    assert batches(fullest) > 1.2 * batches(oldest)
