"""The engine protocol: letterboxed images in, persons out. One module per engine; each is imported only if chosen."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from zipcrop.detect import device as devices
from zipcrop.detect.model import Model
from zipcrop.detect.persons import Thresholds


class Engine(Protocol):
    """A detector that is ready to work."""

    concurrency: int
    """How many threads should call `detect` at once to keep the hardware busy."""
    batch: int
    """The most images per call that it gains from."""

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """The persons in each image of `batch`, uint8 (N, H, W, 3) BGR, letterboxed.

        Gives N arrays, float32 (n, 5): x1, y1, x2, y2 in letterbox pixels and score, by falling score, as
        `persons.select` does. Does not depend on the other images of the batch. May be called by several threads.
        """
        ...


def load(
    model: Model, engine: devices.Engine, device: devices.Device, threads: int, batch: int, thresholds: Thresholds
) -> Engine:
    """The engine called `engine` on `device`, for `model`, with `threads` cores to itself."""
    if engine == "openvino":
        from zipcrop.detect.openvino import OpenVINOEngine

        return OpenVINOEngine(model, threads, thresholds)
    from zipcrop.detect.pytorch import TorchEngine

    return TorchEngine(model, device, threads, batch, thresholds)


def try_out(engine: Engine, model: Model) -> None:
    """Has `engine`, loaded for `model`, look at a small grey image: the first inference allocates, and shows whether
    the engine works at all."""
    engine.detect(np.full((1, 2 * model.stride, 2 * model.stride, 3), 114, np.uint8))
