"""The torch engine on the CPU, where it serves as a second opinion on the OpenVINO engine. On a GPU see `server`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from zipcrop.detect.network import Detector

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.detect.model import Model


class TorchEngine:
    """PyTorch, with the weights as they are.

    The last digits depend on the batch and on the number of threads, so each image is inferred alone and on one thread;
    several threads of ours keep the cores busy instead.
    """

    batch = 1

    def __init__(self, model: Model, threads: int, select: Callable[[np.ndarray], np.ndarray]) -> None:
        """Loads `model`, for `threads` cores. `select` gives the persons in what `Detector` says of one image."""
        self.concurrency = threads
        self._select = select
        torch.set_num_threads(1)
        self._detector = Detector(model, torch.device("cpu"), torch.float32)

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """See `Engine.detect`."""
        with torch.inference_mode():
            return [self._select(each) for each in self._detector(torch.from_numpy(batch)).numpy()]
