"""An engine in the worker's own process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from zipcrop.detect.inference import Callbacks, LocalInference
from zipcrop.detect.model import Model

if TYPE_CHECKING:
    from zipcrop.detect.engine import Engine


@dataclass
class Sums:
    """An engine that finds one person in each image, whose numbers are the image's sum."""

    concurrency: int = 2
    batch: int = 3
    log: list[str] = field(default_factory=list)

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        self.log.append(f"detects {len(batch)}")
        if (batch == 255).all():
            raise RuntimeError("the driver has gone")
        return [np.full((1, 5), image.sum(), np.float32) for image in batch]


@dataclass
class Worker:
    engine: Sums
    model: Model
    careful: bool = False
    found: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loading: Future[Engine] = Future()
        self.inference: LocalInference[int] = LocalInference(self.loading, self.model, self.careful)

    def submit(self, item: int, height: int = 32, value: int = 1) -> None:
        slot = self.inference.reserve((height, 32))
        slot.pixels[:] = value
        self.inference.submit(item, slot)

    def run(self) -> None:
        self.inference.run(Callbacks(self.watched, lambda: self.engine.log.append("ready"), self.deliver))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        self.engine.log.append("watched")
        yield
        self.engine.log.append("not watched")

    def deliver(self, item: int, persons: np.ndarray) -> None:
        assert item not in self.found
        self.found[item] = float(persons[0, 0])


@pytest.fixture
def model(model_json: Path) -> Model:
    return Model.read(model_json)


def test_each_photo_gets_the_persons_that_are_its_own(model: Model) -> None:
    worker = Worker(Sums(concurrency=3), model)
    worker.loading.set_result(worker.engine)
    working = threading.Thread(target=worker.run)
    working.start()
    for item in range(50):
        worker.submit(item, height=32 * (1 + item % 3), value=item)
    worker.inference.close()
    working.join(timeout=60)
    assert worker.found == {item: 32 * 32 * (1 + item % 3) * 3 * item for item in range(50)}
    assert worker.engine.log.count("ready") == 1


def test_it_is_ready_after_the_first_batch_which_is_inferred_alone(model: Model) -> None:
    worker = Worker(Sums(), model)
    worker.loading.set_result(worker.engine)
    for item in range(4):
        worker.submit(item)
    worker.inference.close()
    worker.run()
    assert worker.engine.log == [
        *("watched", "detects 3", "not watched", "ready"),
        *("watched", "detects 1", "not watched"),
    ]


def test_a_careful_one_is_tried_out_before_it_gets_a_photo(model: Model) -> None:
    worker = Worker(Sums(), model, careful=True)
    worker.loading.set_result(worker.engine)
    worker.inference.close()
    worker.run()
    assert worker.engine.log == ["detects 1", "ready"]


def test_without_any_photo_it_ends_and_was_never_ready(model: Model) -> None:
    worker = Worker(Sums(), model)
    worker.loading.set_result(worker.engine)
    worker.inference.close()
    worker.run()
    assert worker.engine.log == []


@pytest.mark.parametrize("first", [0, 1])
def test_what_the_engine_raises_is_raised(model: Model, first: int) -> None:
    worker = Worker(Sums(batch=1), model)
    worker.loading.set_result(worker.engine)
    for item in range(3):
        worker.submit(item, value=255 if item == first else 1)
    worker.inference.close()
    with pytest.raises(RuntimeError, match="the driver has gone"):
        worker.run()
    assert first not in worker.found


def test_what_loading_raises_is_raised(model: Model) -> None:
    worker = Worker(Sums(), model)
    worker.loading.set_exception(ImportError("no such library"))
    worker.submit(0)
    with pytest.raises(ImportError, match="no such library"):
        worker.run()
