"""The OpenVINO engine, for CPUs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zipcrop.detect import network_cache, restrict

restrict.restrict_openvino()

import openvino as ov  # noqa: E402 - only after it is restricted
from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: E402

if TYPE_CHECKING:
    from zipcrop.detect.model import Model


class OpenVINOEngine:
    """One inference stream per core, each on one thread.

    An image's arithmetic is then the same however many cores and workers there are, and no core waits for another. A
    batch is inferred image by image, which is no slower: yolov8s at 480x640 on two cores took 111 to 116 ms per image
    alone, and 116 to 126 ms in batches of 8.
    """

    batch = 1

    def __init__(self, compiled: ov.CompiledModel, threads: int, select: Callable[[np.ndarray], np.ndarray]) -> None:
        """For a network `compiled` for `threads` cores. `select` gives the persons in one image's prediction, as
        `persons.select` does."""
        self.concurrency = threads
        self._compiled = compiled
        self._select = select
        self._local = threading.local()

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """See `Engine.detect`."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        return [self._detect_one(image) for image in batch]

    def _detect_one(self, image: np.ndarray) -> np.ndarray:
        output = self._local.request.infer([image[np.newaxis]], share_inputs=True, share_outputs=True)[0]
        return self._select(output[0])


def compile_model(model: Model, threads: int) -> ov.CompiledModel:
    """The network of `model`, compiled for `threads` cores or taken from what was compiled before.

    Raises ModelError where the files that it compiles are damaged. Networks that were compiled before are checked by
    the job, see `model.check`.
    """
    try:
        with network_cache.cache(network_cache.folder(Path(model.openvino), threads)) as kept:
            compiled = _compile(model, threads, kept)
            if not compiled.get_property("LOADED_FROM_CACHE"):
                model.check_files("openvino")  # before it is kept
    except RuntimeError:  # OpenVINO's
        model.check_files("openvino")
        # Another process may have removed a compiled network just when this one was about to load it.
        return _compile(model, threads, {})
    return compiled


def _compile(model: Model, threads: int, kept: dict[str, str]) -> ov.CompiledModel:
    core = ov.Core()
    # uint8 NHWC BGR goes in as it is; the conversion to what the model was trained on is part of the graph.
    steps = PrePostProcessor(core.read_model(model.openvino))
    pixels = steps.input()
    pixels.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.BGR)
    pixels.preprocess().convert_element_type(ov.Type.f32).convert_color(ColorFormat.RGB).scale(255.0)
    pixels.model().set_layout(ov.Layout("NCHW"))
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
    }
    return core.compile_model(steps.build(), "CPU", options | kept)
