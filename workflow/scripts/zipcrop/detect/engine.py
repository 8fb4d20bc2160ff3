"""The engine protocol: letterboxed images in, persons out, in a worker's own process. One module per engine; each is
imported only if chosen. A GPU's engine has a process to itself, see `server`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from zipcrop.detect.device import EngineName
    from zipcrop.detect.model import Model
    from zipcrop.settings import Thresholds


class Engine(Protocol):
    """A detector that is ready to work."""

    concurrency: int
    """How many threads should call `detect` at once to keep the hardware busy."""
    batch: int
    """The largest batch that still makes it faster."""

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """The persons in each image of `batch`, uint8 (N, H, W, 3) BGR, letterboxed.

        Gives N arrays, float32 (n, 5): x1, y1, x2, y2 in letterbox pixels and score, by falling score, as
        `persons.select` does. The result for an image does not depend on the rest of the batch. Threads may share it.
        """
        ...


def load(model: Model, name: EngineName, threads: int, thresholds: Thresholds) -> Engine:
    """The engine called `name` for `model`, on `threads` cores of the CPU. Raises ModelError where the model's files
    are damaged; an engine may raise anything else."""
    if name == "openvino":
        from zipcrop.detect import openvino

        # First: it compiles without Python's lock, and meanwhile other threads import OpenCV, which `persons` needs.
        compiled = openvino.compile_model(model, threads)
        from zipcrop.detect import persons

        return openvino.OpenVINOEngine(
            compiled, threads, lambda prediction: persons.select(prediction, model.person, thresholds)
        )
    from zipcrop.detect import persons, pytorch

    return pytorch.TorchEngine(model, threads, lambda prediction: persons.select(prediction, 0, thresholds))


def try_out(engine: Engine, model: Model) -> None:
    """Has `engine`, loaded for `model`, look at a small grey image: the first inference allocates memory, and shows
    whether the engine works at all."""
    engine.detect(np.full((1, 2 * model.stride, 2 * model.stride, 3), 114, np.uint8))
