"""Inference, as a worker sees it: letterboxed photos go in, persons come out, wherever the engine is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from zipcrop.detect import engine as engines
from zipcrop.detect.buckets import Buckets

if TYPE_CHECKING:
    from zipcrop.detect.engine import Engine
    from zipcrop.detect.model import Model

T = TypeVar("T")


@dataclass(frozen=True)
class Slot:
    """Memory for one letterboxed photo, which `Inference.reserve` has given."""

    pixels: np.ndarray
    """uint8 (H, W, 3) BGR, to be written."""
    number: int = 0


@dataclass(frozen=True)
class Callbacks(Generic[T]):
    """What `Inference.run` calls. All of it may be called from several threads."""

    watched: Callable[[], AbstractContextManager[None]]
    """Within such a `with` block, the thread waits for the engine."""
    ready: Callable[[], None]
    """Called once, when the engine has worked."""
    deliver: Callable[[T, np.ndarray], None]
    """Takes an item that was submitted, and its persons as `Engine.detect` gives them."""


class Inference(Protocol[T]):
    """An engine with its queue. Its methods are for any thread; `run` is for one."""

    def reserve(self, shape: tuple[int, int]) -> Slot:
        """Memory for a photo whose letterbox has that shape (height, width). May wait for it."""
        ...

    def give_back(self, slot: Slot) -> None:
        """Frees a slot that will not be submitted."""
        ...

    def submit(self, item: T, slot: Slot) -> None:
        """Adds an item, whose letterboxed photo is in `slot`."""
        ...

    def close(self) -> None:
        """Says that no more items will come."""
        ...

    def run(self, callbacks: Callbacks[T]) -> None:
        """Works until all items are delivered and no more will come. Raises what the engine raises."""
        ...


@dataclass(frozen=True)
class _Waiting(Generic[T]):
    item: T
    pixels: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


class LocalInference(Generic[T]):
    """An engine in this process."""

    def __init__(self, engine: Future[Engine], model: Model, careful: bool) -> None:
        """`engine`, for `model`, is being loaded. If `careful`, it is tried out before it gets any photo."""
        self._engine = engine
        self._model = model
        self._careful = careful
        self._waiting: Buckets[_Waiting[T]] = Buckets()

    def reserve(self, shape: tuple[int, int]) -> Slot:
        """See `Inference`."""
        return Slot(np.empty((*shape, 3), np.uint8))

    def give_back(self, slot: Slot) -> None:
        """See `Inference`."""

    def submit(self, item: T, slot: Slot) -> None:
        """See `Inference`."""
        self._waiting.put(_Waiting(item, slot.pixels))

    def close(self) -> None:
        """See `Inference`."""
        self._waiting.close()

    def run(self, callbacks: Callbacks[T]) -> None:
        """See `Inference`. The engine works for the first time alone, and then on several threads."""
        engine = self._engine.result()
        # Alone: two threads that infer for the first time at once can deadlock, one with Python's lock and the other
        # with that of pybind11's look-up of NumPy (seen in OpenVINO 2026.4).
        if self._careful:
            engines.try_out(engine, self._model)
        elif not self._infer(engine, callbacks):
            return
        callbacks.ready()
        executor = ThreadPoolExecutor(engine.concurrency)
        futures = [executor.submit(self._infer_all, engine, callbacks) for _ in range(engine.concurrency)]
        for future in as_completed(futures):
            future.result()  # what one of them raises is raised at once

    def _infer_all(self, engine: Engine, callbacks: Callbacks[T]) -> None:
        while self._infer(engine, callbacks):
            pass

    def _infer(self, engine: Engine, callbacks: Callbacks[T]) -> bool:
        """Whether there was a batch, or no more will come."""
        taken = self._waiting.take(engine.batch)
        if not taken:
            return False
        pixels = [each.pixels for each in taken]
        batch = np.stack(pixels) if len(pixels) > 1 else pixels[0][np.newaxis]
        with callbacks.watched():
            found = engine.detect(batch)
        for each, persons in zip(taken, found, strict=True):
            callbacks.deliver(each.item, persons)
        return True
