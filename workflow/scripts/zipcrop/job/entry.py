"""The entry point of a worker process: its environment, and the order in which it starts.

Spawned processes import this module first, and so does the job, which must not wait for NumPy, OpenCV or an engine:
these are imported here when their turn comes. The engine's turn is first, since OpenVINO compiles a network without
Python's lock, while OpenCV is imported and the first photos are read.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, MutableSequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from zipcrop import RESULTS_VERSION
from zipcrop.detect import restrict
from zipcrop.errors import ZipcropError
from zipcrop.image import opencv
from zipcrop.job import channel
from zipcrop.job.channel import Channel
from zipcrop.process import memory, orphan
from zipcrop.process.overtime import Overtime
from zipcrop.process.watchdog import Board

if TYPE_CHECKING:
    from zipcrop.detect.engine import Engine
    from zipcrop.detect.inference import Inference
    from zipcrop.detect.lease import Address
    from zipcrop.job.photo import Photo
    from zipcrop.job.task import Task


@dataclass(frozen=True)
class Shared:
    """Memory that a worker shares with the pool."""

    board: MutableSequence[int]
    """What the worker's threads are at; see `watchdog.Board`."""
    account: MutableSequence[float]
    """The seconds that all workers have spent as overtime; see `overtime.Overtime`."""
    cell: int
    """The worker's own in the account."""


def most_busy_threads(threads: int) -> int:
    """The most threads of a worker with `threads` cores that decode, encode or infer at the same time."""
    return 4 * threads + 4


@functools.cache
def versions() -> dict[str, str]:
    """The versions of the program's results, of Python and of packages, for the record. The job asks for them while its
    workers load their engines: before, they would have to wait for the import."""
    import importlib.metadata

    packages = ("numpy", "opencv-python-headless", "openvino", "torch", "ultralytics-opencv-headless")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"results": str(RESULTS_VERSION), "python": platform.python_version(), **found}


def main(connection: Connection, shared: Shared, task: Task, address: Address | None, careful: bool) -> None:
    """The whole life of a worker process. It uses the engine process at `address`, if given. If `careful`, it takes no
    member before the engine has worked."""
    orphan.die_with_parent()
    memory.keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the pool as well, which ends its workers
    _send_output_to(task.job.log)
    opencv.limit(task.job.settings.limits.megapixels)
    opencv.restrict_openblas()
    restrict.skip_openvino_converters()
    pool = Channel(connection)
    try:
        inference = _local_inference(task, careful) if address is None else _remote_inference(task, address)
        from zipcrop.job.worker import Worker

        overtime = Overtime(shared.account, shared.cell, task.job.settings.limits.seconds)
        Worker(pool, Board(shared.board), overtime, task, inference).run()
    except ZipcropError as error:
        pool.send(channel.fault(error))
    except Exception as error:
        pool.send(("fault", unexpected(error, task)))
    # Everything is written and sent. An orderly exit would take longer than a photo, since it frees the engine's memory
    # and unloads libraries.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _remote_inference(task: Task, address: Address) -> Inference[Photo]:
    from zipcrop.detect import client, persons

    thresholds = task.job.settings.thresholds
    return client.RemoteInference(address, task.slots, lambda prediction: persons.select(prediction, 0, thresholds))


def _local_inference(task: Task, careful: bool) -> Inference[Photo]:
    loading = _start_loading(task)
    from zipcrop.detect.inference import LocalInference

    return LocalInference(loading, task.model, careful)


def _start_loading(task: Task) -> Future[Engine]:
    """Loads the engine in a thread of its own."""
    if task.engine == "openvino":
        from zipcrop.detect import openvino  # noqa: F401 - before the thread is there: imports wait for each other
    loading: Future[Engine] = Future()
    Thread(target=_resolve, args=(loading, functools.partial(_load, task)), daemon=True).start()
    return loading


def _load(task: Task) -> Engine:
    from zipcrop.detect import engine

    return engine.load(task.model, task.engine, task.threads, task.job.settings.thresholds)


def _resolve(future: Future[Engine], load: Callable[[], Engine]) -> None:
    try:
        future.set_result(load())
    except BaseException as error:  # an engine that cannot start may raise anything
        future.set_exception(error)


def unexpected(error: BaseException, task: Task) -> str:
    """The sentence for an error that nobody foresaw; its traceback goes to the log."""
    traceback.print_exception(error)
    job = task.job
    return f"unexpected {type(error).__name__} in a worker of {job.archive} ({error}); details are in {job.log}"


def _send_output_to(log: Path) -> None:
    """Decoders in C write warnings where they like. They belong in the log, not between the progress lines."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()  # tells where it was when a decoder or a driver crashed
