"""A worker: its threads, and the queues between them, by which members become crops and originals.

Threads read and decode ahead, also while the engine loads; one waits for the engine, wherever that is; others encode
and write. Together they hold no more than a fixed budget of bytes.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import cv2

from zipcrop.archive.confirmed import ConfirmedArchive
from zipcrop.archive.reader import DamagedMember, MemberError
from zipcrop.detect.inference import Callbacks
from zipcrop.errors import MachineError, ZipcropError, machine_faults
from zipcrop.image import codec
from zipcrop.image.formats import ImageError
from zipcrop.image.selection import NotAnImage
from zipcrop.job import channel as channels
from zipcrop.job import photo
from zipcrop.job.entry import unexpected
from zipcrop.process import threads
from zipcrop.process.budget import ByteBudget
from zipcrop.process.overtime import OutOfTime, Overtime, is_far_more
from zipcrop.results.manifest import Outcome

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.detect.inference import Inference
    from zipcrop.job.channel import Channel
    from zipcrop.job.photo import Photo
    from zipcrop.job.task import Task
    from zipcrop.process.watchdog import Board
    from zipcrop.results.names import OutputName


class Worker:
    """A worker of one archive."""

    def __init__(
        self,
        channel: Channel,
        board: Board,
        overtime: Overtime,
        task: Task,
        inference: Inference[Photo],
    ) -> None:
        """For `task`, whose members come through `channel`, with an engine that may be loading. Shows on `board` what
        its threads are at, and notes what they spend as `overtime`.

        Raises MachineError where the archive cannot be opened.
        """
        self._channel = channel
        self._board = board
        self._overtime = overtime
        self._task = task
        self._settings = task.job.settings
        self._inference = inference
        with machine_faults(f"opening {task.job.zip}"):
            self._archive = ConfirmedArchive(task.job.zip, self._settings.limits, task.state, task.digest)
        self._budget = ByteBudget(task.memory)
        # Separate budgets: a thread that decodes a file holds its bytes already, one that writes a photo its pixels.
        self._budget_for_files = ByteBudget(task.memory_of_files)
        self._budget_for_crops = ByteBudget(task.memory)
        self._todo: queue.SimpleQueue[tuple[int, OutputName] | None] = queue.SimpleQueue()
        self._detected: queue.SimpleQueue[tuple[Photo, np.ndarray] | None] = queue.SimpleQueue()

    def run(self) -> None:
        """Works until the pool has no more members, or is gone."""
        cv2.setNumThreads(1)  # the threads here are parallelism enough
        detectors = self._start(self._infer, 1)
        readers = self._start(self._read_and_decode, max(2, self._task.threads))
        writers = self._start(self._write, max(1, self._task.threads // 2))
        while (members := self._channel.receive()) is not None:
            for member in members:
                self._todo.put(member)
        threads.finish(readers, lambda: self._todo.put(None))
        self._inference.close()
        threads.finish(detectors)
        threads.finish(writers, lambda: self._detected.put(None))

    def _start(self, work: Callable[[], None], count: int) -> list[threading.Thread]:
        return threads.start(functools.partial(self._guard, work), count)

    def _guard(self, work: Callable[[], None]) -> None:
        """Does `work`; what it raises ends the job."""
        try:
            work()
        except OSError as error:
            self._channel.send(("fault", str(MachineError.from_os_error(error, f"working on {self._task.job.zip}"))))
        except ZipcropError as error:
            self._channel.send(channels.fault(error))
        except MemoryError:
            self._channel.exit_without_memory()
        except BaseException as error:  # an engine that cannot start may raise anything
            self._channel.send(("fault", unexpected(error, self._task)))

    def _read_and_decode(self) -> None:
        while (member := self._todo.get()) is not None:
            index, name = member
            try:
                self._read_and_decode_one(index, name)
            except NotAnImage as error:
                self._channel.send(("outcome", Outcome(index, "skipped", str(error))))
            except (MemberError, ImageError, OutOfTime) as error:
                again = isinstance(error, DamagedMember)
                self._channel.send(("outcome", Outcome(index, "failed", str(error), again=again)))

    def _read_and_decode_one(self, index: int, name: OutputName) -> None:
        with machine_faults(f"reading {self._task.job.zip}"):
            entry = self._archive.entry(index)
            memory = self._archive.memory(entry)
        far_more = is_far_more(memory, entry.compressed_size)
        self._overtime.check(far_more)
        with self._budget_for_files.hold(memory):
            with machine_faults(f"reading {self._task.job.zip}"), self._overtime.spent(far_more):
                data = self._archive.read(entry)
            with self._board.member(index):
                examined = photo.examine(entry, name, data, self._settings, self._task.model.stride)
            self._overtime.check(examined.far_more)
            with self._budget.hold(examined.memory + examined.memory_of_decoding, kept=examined.memory):
                with self._board.member(index), self._overtime.spent(examined.far_more):
                    each, image = photo.decode(examined)
                self._submit(each, image)

    def _submit(self, each: Photo, image: np.ndarray) -> None:
        """Hands a photo, whose decoded `image` may be reduced, to the engine."""
        slot = self._inference.reserve(each.letterbox.shape)
        try:
            with self._board.member(each.index):
                each.letterbox.apply(image, slot.pixels)
        except BaseException:
            self._inference.give_back(slot)
            raise
        self._inference.submit(each, slot)

    def _infer(self) -> None:
        self._inference.run(
            Callbacks(
                watched=self._board.inference,
                ready=lambda: self._channel.send(("ready", None)),
                deliver=lambda each, persons: self._detected.put((each, persons)),
            )
        )

    def _write(self) -> None:
        while (item := self._detected.get()) is not None:
            self._write_one(*item)
            del item  # or a giant photo would stay until the next one comes

    def _write_one(self, each: Photo, found: np.ndarray) -> None:
        task = self._task
        try:
            outcome = photo.keep(each, found, task.job.archive, task.staging, self._settings, self._full_size)
        except ImageError as error:
            outcome = Outcome(each.index, "failed", str(error), each.width, each.height)
        self._budget.release(each.examined.memory)
        self._channel.send(("outcome", outcome))

    @contextlib.contextmanager
    def _full_size(self, each: Photo) -> Iterator[np.ndarray]:
        """See `photo.FullSize`. The image is decoded if it is not there."""
        with self._overtime.spent(each.examined.far_more):
            if each.image is not None:
                with self._board.member(each.index):
                    yield each.image
                return
            with self._budget_for_crops.hold(3 * each.height * each.width):
                with self._board.member(each.index):
                    image = codec.decode(each.examined.data, each.examined.header)
                with self._board.member(each.index):
                    yield image
