"""The engine alone, as fast as it goes: photos are decoded and letterboxed beforehand, and only inference is timed.

usage: bare_engine.py MODEL.json IMAGE_SIZE THREADS ZIP [ZIP ...]
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from photos import decoded
from zipcrop import engine
from zipcrop.letterbox import Letterbox
from zipcrop.model import Model
from zipcrop.persons import Thresholds


def main() -> None:
    prepared, image_size, threads, *archives = sys.argv[1:]
    model = Model.read(Path(prepared))
    letterboxed = []
    for path in archives:
        for photo in decoded(Path(path)):
            letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], int(image_size), model.stride)
            letterboxed.append(letterbox.apply(photo)[None])
    loaded = engine.load(model, "openvino", "cpu", int(threads), 1, Thresholds(0.25, 0.7, 300))
    engine.try_out(loaded, model)
    todo = iter(letterboxed)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                batch = next(todo, None)
            if batch is None:
                return
            loaded.detect(batch)

    workers = [threading.Thread(target=work) for _ in range(loaded.concurrency)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
