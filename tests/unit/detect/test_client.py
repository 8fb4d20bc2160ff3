"""A worker's side, with real engine processes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from helpers import formula
from helpers.effort import time_limit
from helpers.engine_process import SPEC, EngineProcess, noise, serving, wait_until
from helpers.formula import answer
from helpers.job import IMAGE_SIZE
from helpers.photos import letterboxed, photo
from zipcrop.detect import engine as engines
from zipcrop.detect import persons
from zipcrop.detect.client import RemoteInference
from zipcrop.detect.inference import Callbacks
from zipcrop.detect.lease import Address, Spec
from zipcrop.detect.model import Model
from zipcrop.errors import EngineGone, GPUUnusable, MachineError
from zipcrop.settings import Thresholds

THRESHOLDS = Thresholds(confidence=0.1, iou=0.7, max_detections=300)


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with time_limit(180):
        yield


@dataclass
class Worker:
    """What stands for a worker: one thread waits for results, and others submit."""

    inference: RemoteInference[int]
    found: dict[int, np.ndarray] = field(default_factory=dict)
    ready: list[float] = field(default_factory=list)
    watched: list[bool] = field(default_factory=list)
    """True for each time that it began to wait for the engine, False for each that it stopped."""
    error: BaseException | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.inference.run(Callbacks(self._watched, lambda: self.ready.append(1), self._deliver))
        except BaseException as error:
            self.error = error

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        self.watched.append(True)
        try:
            yield
        finally:
            self.watched.append(False)

    def _deliver(self, item: int, found: np.ndarray) -> None:
        assert item not in self.found
        self.found[item] = found

    @property
    def waits_for_engine(self) -> bool:
        return bool(self.watched) and self.watched[-1]

    def submit(self, item: int, image: np.ndarray) -> None:
        slot = self.inference.reserve(image.shape[:2])
        slot.pixels[:] = image
        self.inference.submit(item, slot)

    def end(self) -> BaseException | None:
        """Waits for all results, or the error in place of them."""
        self.inference.close()
        return self.failure()

    def failure(self) -> BaseException | None:
        """Waits for the error that ends it."""
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()
        return self.error


def connected(address: Address, count: int = 8, select: Callable[[np.ndarray], np.ndarray] = np.ndarray.copy) -> Worker:
    return Worker(RemoteInference(address, count, select))


def end_of(engine: EngineProcess) -> str:
    return f"the engine process of GPU-1234 has ended; see {engine.address.log}"


def test_more_photos_than_slots_of_any_shapes_from_many_threads(engine: EngineProcess) -> None:
    shapes = [(32, 64), (64, 32), (64, 64), (32, 32)]
    photos = [noise(seed, *shapes[seed % 3]) for seed in range(100)]
    worker = connected(engine.address, count=5)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(worker.submit, range(100), photos))
    assert worker.end() is None
    assert sorted(worker.found) == list(range(100))
    for number, image in enumerate(photos):
        np.testing.assert_array_equal(worker.found[number], answer(image))
    assert len(worker.ready) == 1


def test_a_slot_that_is_given_back_is_used_again(engine: EngineProcess) -> None:
    worker = connected(engine.address, count=1)
    for seed in range(3):
        worker.inference.give_back(worker.inference.reserve((64, 64)))
        worker.submit(seed, noise(seed))
    assert worker.end() is None
    assert len(worker.found) == 3


def test_a_worker_without_any_photo_ends_at_once_and_is_ready_all_the_same(engine: EngineProcess) -> None:
    assert connected(engine.address).end() is None
    worker = connected(engine.address)
    wait_until(lambda: worker.ready)
    assert worker.end() is None
    assert worker.watched == []


def test_the_engine_is_watched_while_photos_are_in_flight_and_not_otherwise(folder: Path) -> None:
    with serving(folder, gate=str(folder / "gate")) as engine:
        worker = connected(engine.address)
        wait_until(lambda: worker.ready)
        assert worker.watched == []
        worker.submit(0, noise(0))
        wait_until(lambda: worker.waits_for_engine)
        (folder / "gate").touch()
        wait_until(lambda: worker.found)
        wait_until(lambda: not worker.waits_for_engine)
        worker.submit(1, noise(1))
        assert worker.end() is None
        assert not worker.waits_for_engine
        assert sorted(worker.found) == [0, 1]


def test_loading_is_watched_where_photos_wait_for_it(folder: Path) -> None:
    with serving(folder, loaded=str(folder / "loaded")) as engine:
        worker = connected(engine.address)
        worker.submit(0, noise(0))
        wait_until(lambda: worker.waits_for_engine)
        assert worker.ready == []
        (folder / "loaded").touch()
        assert worker.end() is None
        assert len(worker.ready) == len(worker.found) == 1


# -- Faults -------------------------------------------------------------------------------------------------------


def test_where_there_is_no_process_it_is_gone(folder: Path) -> None:
    with serving(folder) as engine:
        engine.kill()
        with pytest.raises(EngineGone) as gone:
            RemoteInference(engine.address, 4, np.ndarray.copy)
        assert str(gone.value) == end_of(engine)
        engine.address.path.unlink()
        with pytest.raises(EngineGone):
            RemoteInference(engine.address, 4, np.ndarray.copy)


def test_a_process_that_is_killed_is_gone_for_all_threads_that_wait_or_go_on(folder: Path) -> None:
    with serving(folder, gate=str(folder / "never")) as engine:
        worker = connected(engine.address, count=3)
        wait_until(lambda: worker.ready)
        for item in range(2):
            worker.submit(item, noise(item))
        slot = worker.inference.reserve((32, 64))
        with ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(worker.inference.reserve, (32, 64)) for _ in range(2)]
            engine.kill()
            for each in waiting:
                assert str(each.exception(timeout=60)) == end_of(engine)
        assert isinstance(worker.failure(), EngineGone)
        assert str(worker.error) == end_of(engine)
        assert worker.found == {}
        with pytest.raises(EngineGone):
            worker.inference.submit(2, slot)
        with pytest.raises(EngineGone):
            worker.inference.reserve((32, 64))


def test_an_idle_worker_notices_the_end_of_the_process(folder: Path) -> None:
    with serving(folder) as engine:
        worker = connected(engine.address)
        wait_until(lambda: worker.ready)
        engine.kill()
        assert isinstance(worker.failure(), EngineGone)


def test_a_gpu_that_cannot_be_used_is_told_to_those_who_wait_and_to_the_late(folder: Path) -> None:
    with serving(folder, load="error", loaded=str(folder / "loaded"), farewell=5) as engine:
        early = connected(engine.address)
        early.submit(0, noise(0))
        (folder / "loaded").touch()
        assert isinstance(early.failure(), GPUUnusable)
        late = connected(engine.address)
        assert isinstance(late.failure(), GPUUnusable)
        assert str(late.error) == str(early.error)
        assert str(late.error).startswith("GPU-1234 cannot be used (AssertionError: Torch not compiled")


def test_weights_that_cannot_be_used_are_a_fault_of_the_machine_in_their_own_words(folder: Path) -> None:
    with serving(folder, load="model") as engine:
        error = connected(engine.address).failure()
        assert type(error) is MachineError
        assert str(error) == "the weights are damaged; use others"


def test_a_fault_is_the_same_for_all_threads_whichever_hears_of_it(folder: Path) -> None:
    """Else the pool would believe the first one, which may only know that the process is gone."""
    with serving(folder, gate=str(folder / "gate")) as engine:
        worker = connected(engine.address, count=200)
        errors: list[BaseException] = []

        def submit(first: int) -> None:
            try:
                for item in range(first, 100000, 4):
                    image = noise(0)
                    image[0, 0, 0] = formula.POISON
                    worker.submit(item, image)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=submit, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        (folder / "gate").touch()
        for thread in threads:
            thread.join(timeout=60)
        for error in [*errors, worker.failure()]:
            assert type(error) is MachineError
            assert "GPU-1234 has failed (RuntimeError: CUDA error: unspecified launch failure" in str(error)
        assert len(errors) == 4


def test_a_process_for_other_weights_says_so(engine: EngineProcess) -> None:
    address = Address(engine.address.gpu, engine.address.path, engine.address.log, Spec(SPEC.model, "other", 64, 32, 4))
    error = connected(address).failure()
    assert type(error) is MachineError
    assert "was started for other weights or settings; run again" in str(error)


# -- The real network ---------------------------------------------------------------------------------------------

ON_THE_CPU = """
def patch(server):
    import torch
    from zipcrop.detect import cuda, network, pytorch
    network.load = lambda model, image_size, batch: network.Network(
        pytorch.Detector(model, torch.device("cpu"), torch.float32), image_size, batch, cuda.CPU()
    )
"""


def test_the_persons_are_those_of_an_engine_in_the_worker_byte_for_byte(folder: Path, model_json: Path) -> None:
    model = Model.read(model_json)
    local = engines.load(model, "torch", 1, THRESHOLDS)
    bus, zidane = photo("bus"), photo("zidane")
    images = [bus, bus[:, ::-1].copy(), zidane, bus[400:900, :700].copy(), photo("empty")]
    photos = [letterboxed(image) for image in images]
    wanted = [local.detect(image[np.newaxis])[0] for image in photos]
    assert sum(map(len, wanted)) > 8
    with serving(folder, spec=Spec.of(model, IMAGE_SIZE, 4), patch=ON_THE_CPU) as engine:
        workers = [
            connected(engine.address, select=lambda prediction: persons.select(prediction, 0, THRESHOLDS))
            for _ in range(3)
        ]
        for number, worker in enumerate(workers):
            for item in range(5):
                worker.submit(item, photos[(item + number) % 5])
        for number, worker in enumerate(workers):
            assert worker.end() is None
            for item in range(5):
                assert worker.found[item].tobytes() == wanted[(item + number) % 5].tobytes()
                assert worker.found[item].shape == wanted[(item + number) % 5].shape
