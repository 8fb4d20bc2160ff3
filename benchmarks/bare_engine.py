"""The engine alone, as fast as it goes: photos are decoded and letterboxed beforehand, and only inference is timed.

usage: bare_engine.py MODEL.json IMAGE_SIZE DEVICE THREADS ZIP [ZIP ...]

On `cuda` it is the network of the engine process, which is given one rectangle after the other in full batches: each
rectangle comes twice before the clock starts, so that none is cold, and the last batch of each is filled up with photos
of the same rectangle. The seconds are those for as many photos as there are.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from photos import decoded
from zipcrop.detect import device as devices
from zipcrop.detect import engine
from zipcrop.detect.buckets import Buckets
from zipcrop.detect.letterbox import Letterbox
from zipcrop.detect.model import Model
from zipcrop.settings import DeviceSetting, Speed, Thresholds

if TYPE_CHECKING:
    from zipcrop.detect.server import Network

BATCH = 16
_WARM_UP = 3
"""Batches of each rectangle before the clock starts: one without a graph, one that captures it, one that replays it."""
Rectangles = Mapping[tuple[int, int], Sequence[np.ndarray]]
"""Letterboxed photos, uint8 (H, W, 3) BGR, by their shape (H, W)."""


class Letterboxed:
    """A photo in its letterbox, uint8 (H, W, 3) BGR."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """See `buckets.Shaped`."""
        return self.pixels.shape[0], self.pixels.shape[1]


def letterboxed(photo: np.ndarray, image_size: int, stride: int) -> np.ndarray:
    """The photo, uint8 (height, width, 3) BGR, in a letterbox of its own."""
    letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], image_size, stride)
    pixels = np.empty((*letterbox.shape, 3), np.uint8)
    letterbox.apply(photo, pixels)
    return pixels


def by_rectangle(photos: Sequence[np.ndarray]) -> dict[tuple[int, int], list[np.ndarray]]:
    """Letterboxed photos by their shapes."""
    rectangles: dict[tuple[int, int], list[np.ndarray]] = {}
    for photo in photos:
        rectangles.setdefault((photo.shape[0], photo.shape[1]), []).append(photo)
    return rectangles


def full_batches(photos: Sequence[np.ndarray], batch: int) -> list[list[np.ndarray]]:
    """Batches of `photos`, of which the last is filled up with the first ones."""
    count = -(-len(photos) // batch) * batch
    filled = [photos[number % len(photos)] for number in range(count)]
    return [filled[at : at + batch] for at in range(0, count, batch)]


def drive(network: Network, rectangles: Rectangles) -> float:
    """Has `network` infer all photos, one batch being gathered while it is at another; gives the seconds that it took,
    less those for photos that filled up batches."""
    for photos in rectangles.values():
        for _ in range(_WARM_UP):
            network.finish(network.start(full_batches(photos[: network.batch], network.batch)[0]))
    batches = [batch for photos in rectangles.values() for batch in full_batches(photos, network.batch)]
    started = time.perf_counter()
    pending = None
    for batch in batches:
        following = network.start(batch)
        if pending is not None:
            network.finish(pending)
        pending = following
    network.finish(pending)
    seconds = time.perf_counter() - started
    return seconds * sum(map(len, rectangles.values())) / sum(map(len, batches))


def drive_threads(loaded: engine.Engine, photos: Sequence[np.ndarray]) -> float:
    """Has an engine of this process infer all letterboxed `photos`, on its threads; gives the seconds that it took."""
    waiting: Buckets[Letterboxed] = Buckets()
    for photo in photos:
        waiting.put(Letterboxed(photo))
    waiting.close()

    def work() -> None:
        while taken := waiting.take(min(BATCH, loaded.batch)):
            loaded.detect(np.stack([photo.pixels for photo in taken]))

    workers = [threading.Thread(target=work) for _ in range(loaded.concurrency)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def main() -> None:
    prepared, image_size, wanted, threads, *archives = sys.argv[1:]
    model = Model.read(Path(prepared))
    boxed = [letterboxed(photo, int(image_size), model.stride) for path in archives for photo in decoded(Path(path))]
    if wanted == "cuda":
        from zipcrop.detect import network

        print(drive(network.load(model, int(image_size), BATCH), by_rectangle(boxed)))
        return
    speed = Speed(cast("DeviceSetting", wanted), "auto", BATCH, workers="auto", gpus_per_archive=1)
    _, name = devices.choose(speed, "int8" if model.quantized else "f32")
    loaded = engine.load(model, name, int(threads), Thresholds(0.25, 0.7, 300))
    engine.try_out(loaded, model)
    print(drive_threads(loaded, boxed))


if __name__ == "__main__":
    main()
