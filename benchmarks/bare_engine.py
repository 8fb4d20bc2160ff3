"""The engine alone, as fast as it goes: photos are decoded and letterboxed beforehand, and only inference is timed.

usage: bare_engine.py MODEL.json IMAGE_SIZE DEVICE THREADS ZIP [ZIP ...]
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import cast

import numpy as np

from photos import decoded
from zipcrop.detect import device as devices
from zipcrop.detect import engine
from zipcrop.detect.buckets import Buckets
from zipcrop.detect.letterbox import Letterbox
from zipcrop.detect.model import Model
from zipcrop.settings import DeviceSetting, Speed, Thresholds

BATCH = 16


class Letterboxed:
    """A photo in its letterbox, uint8 (H, W, 3) BGR."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """See `buckets.Shaped`."""
        return self.pixels.shape[0], self.pixels.shape[1]


def main() -> None:
    prepared, image_size, wanted, threads, *archives = sys.argv[1:]
    model = Model.read(Path(prepared))
    speed = Speed(cast("DeviceSetting", wanted), "auto", BATCH, workers="auto", gpus_per_archive=1)
    device, name = devices.choose(speed, "int8" if model.quantized else "f32")
    loaded = engine.load(model, name, device, int(threads), BATCH, Thresholds(0.25, 0.7, 300))
    engine.try_out(loaded, model)
    waiting: Buckets[Letterboxed] = Buckets()
    for path in archives:
        for photo in decoded(Path(path)):
            letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], int(image_size), model.stride)
            waiting.put(Letterboxed(letterbox.apply(photo, np.empty((*letterbox.shape, 3), np.uint8))))
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
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
