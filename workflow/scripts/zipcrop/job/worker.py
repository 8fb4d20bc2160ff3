"""A worker process: turns members into crops and originals in the staging folder, and says what became of each.

Threads read and decode ahead, also while the engine loads; `engine.concurrency` threads infer, threads encode and
write. All of them together hold no more than a fixed budget of pixels.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop import files
from zipcrop.archive.confirmed import ConfirmedArchive
from zipcrop.archive.reader import DamagedMember, Limits, MemberError, NotAnImage
from zipcrop.detect import restrict
from zipcrop.errors import MachineError, ZipcropError, machine_faults
from zipcrop.image import jpeg, opencv
from zipcrop.image.codec import ImageError
from zipcrop.process import orphan, overtime
from zipcrop.process.budget import ByteBudget
from zipcrop.process.overtime import OutOfTime, Overtime
from zipcrop.process.watchdog import Board
from zipcrop.results.manifest import Content, Outcome, Person
from zipcrop.results.names import OutputName

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.archive.directory import State
    from zipcrop.detect import device as devices
    from zipcrop.detect.engine import Engine
    from zipcrop.detect.letterbox import Letterbox
    from zipcrop.detect.model import Model
    from zipcrop.detect.persons import Thresholds
    from zipcrop.process.gpu import Lease

_BYTES_PER_THREAD = 128 * 1024**2
"""A photo of 12 megapixels holds about 42 MB while it is decoded, inferred and written, one of 48 about 160."""
_LEAST_BYTES = {"cpu": 2 * _BYTES_PER_THREAD, "cuda": 8 * _BYTES_PER_THREAD}
"""A GPU takes whole batches."""
_FILE_BYTES_PER_THREAD = 32 * 1024**2
"""What is read and not yet decoded."""
_MOST_DECODING_BYTES = 9
"""Bytes for each of limits.megapixels that decoding may take: JPEG's. Some formats take twice as much."""

OUT_OF_MEMORY = 75
"""Exit status of a worker that has no memory left: the pool then tries what it had in hand by halves, as if it had
crashed, until each is alone."""


@dataclass(frozen=True)
class CropSettings:
    """How crops are cut and written."""

    padding: float
    min_size: int
    format: str
    quality: int


@dataclass(frozen=True)
class Task:
    """All that a worker has to know."""

    archive: str
    zip: str
    state: State
    """The archive's when the job began."""
    digest: str
    """Of its directory, as the job has read it."""
    staging: Path
    """Folder that stands for the output folder until the results are published."""
    log: Path
    model: Model
    device: devices.Device
    engine: devices.Engine
    threads: int
    batch: int
    image_size: int
    decode: str
    """`exact` or `fast`."""
    thresholds: Thresholds
    crop: CropSettings
    limits: Limits
    seconds: float
    """The longest that a member may be decoded, or encoded."""

    @property
    def chunk(self) -> int:
        """How many members go to a worker together: enough to fill two batches of a GPU, and to keep the threads of a
        CPU busy. What a worker has in hand is done again after a kill, so no more than that."""
        return 2 * self.batch if self.device == "cuda" else max(8, 2 * self.threads)


@dataclass
class _Photo:
    """A member on its way through the worker."""

    index: int
    name: OutputName
    data: bytes
    image: np.ndarray | None
    """In full size; None if it was decoded at a reduced size."""
    letterbox: Letterbox
    pixels: np.ndarray
    cost: int
    far_more: bool
    """Its time counts as overtime."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.letterbox.shape


def most_busy_threads(threads: int) -> int:
    """How many threads of a worker with `threads` cores may be decoding, encoding or inferring at once, at most."""
    return 4 * threads + 4


# Messages to the pool: ("ready", None) once the engine has worked, ("outcome", Outcome) or ("fault", sentence). From
# the pool: a list of pairs, a member's index and its output name, or None for the end.
def main(
    connection: Connection,
    places: MutableSequence[int],
    account: tuple[MutableSequence[float], int],
    task: Task,
    lease: Lease | None,
    careful: bool,
) -> None:
    """Entry point of the process, which shows on `places` what its threads are at (see `watchdog.Board`), and notes in
    `account`, an array and its place there, what it spends as overtime. If there is a `lease`, it uses that GPU. If
    `careful`, it tries its engine before it has any member."""
    orphan.die_with_parent()
    if lease is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = lease.gpu.name
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the pool, too, which ends its workers
    _send_output_to(task.log)
    opencv.limit(task.limits.megapixels)
    restrict.skip_openvino_converters()
    opencv.restrict_openblas()
    try:
        _Worker(connection, Board(places), Overtime(*account, task.seconds), task, careful).run()
    except ZipcropError as error:
        connection.send(("fault", str(error)))
    except Exception as error:
        connection.send(("fault", _unexpected(error, task)))
    # All is written and sent. To free the engine, what it has mapped and what others have imported would take longer
    # than a photo.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _unexpected(error: BaseException, task: Task) -> str:
    """The sentence for an error that nobody foresaw; its traceback goes to the log."""
    traceback.print_exception(error)
    return f"unexpected {type(error).__name__} in a worker of {task.archive} ({error}); details are in {task.log}"


def _send_output_to(log: Path) -> None:
    """Decoders in C write warnings where they like; they belong into the log, not between the progress lines."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()  # where it was when a decoder or a driver crashed


class _Worker:
    def __init__(self, connection: Connection, board: Board, overtime: Overtime, task: Task, careful: bool) -> None:
        from zipcrop.detect.buckets import Buckets

        self._connection = connection
        self._sending = threading.Lock()
        self._board = board
        self._overtime = overtime
        self._task = task
        self._careful = careful
        with machine_faults(f"opening {task.zip}"):
            self._archive = ConfirmedArchive(task.zip, task.limits, task.state, task.digest)
        in_flight = max(_LEAST_BYTES[task.device], task.threads * _BYTES_PER_THREAD)
        self._budget = ByteBudget(in_flight)
        # Of their own, since who decodes a file holds its bytes, and who writes a photo its pixels.
        self._budget_for_files = ByteBudget(task.threads * _FILE_BYTES_PER_THREAD)
        self._budget_for_crops = ByteBudget(in_flight)
        self._todo: queue.SimpleQueue[tuple[int, OutputName] | None] = queue.SimpleQueue()
        self._decoded: Buckets[_Photo] = Buckets()
        self._detected: queue.SimpleQueue[tuple[_Photo, np.ndarray] | None] = queue.SimpleQueue()

    def run(self) -> None:
        """Works until the pool has no more members, or is gone."""
        if self._task.engine == "openvino":
            # First, since its network compiles, without Python's lock, while OpenCV is imported.
            from zipcrop.detect import openvino  # noqa: F401
        detectors = self._start(self._load_and_detect, 1)
        import cv2

        cv2.setNumThreads(1)  # the threads here are parallelism enough
        readers = self._start(self._read_and_decode, max(2, self._task.threads))
        writers = self._start(self._write, max(1, self._task.threads // 2))
        try:
            while (members := self._connection.recv()) is not None:
                for member in members:
                    self._todo.put(member)
        except (EOFError, ConnectionError):
            os._exit(1)  # the job is gone, and nobody waits for results
        _finish(readers, lambda: self._todo.put(None))
        self._decoded.close()
        _finish(detectors, lambda: None)
        _finish(writers, lambda: self._detected.put(None))

    def _start(self, work: Callable[[], None], count: int) -> list[threading.Thread]:
        def guarded() -> None:
            try:
                work()
            except OSError as error:
                self._fault(str(MachineError.from_os_error(error, f"working on {self._task.zip}")))
            except ZipcropError as error:
                self._fault(str(error))
            except MemoryError:
                with self._sending:  # not in the middle of a message
                    os._exit(OUT_OF_MEMORY)
            except BaseException as error:  # an engine that cannot start may raise anything
                self._fault(_unexpected(error, self._task))

        threads = [threading.Thread(target=guarded, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def _fault(self, sentence: str) -> None:
        """Tells the pool, which ends the job."""
        self._send(("fault", sentence))

    def _send(self, message: tuple[str, object]) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionError):
            os._exit(1)

    def _read_and_decode(self) -> None:
        while (member := self._todo.get()) is not None:
            index, name = member
            try:
                self._decoded.put(self._read_and_decode_one(index, name))
            except NotAnImage as error:
                self._send(("outcome", Outcome(index, "skipped", str(error))))
            except (MemberError, ImageError, OutOfTime) as error:
                again = isinstance(error, DamagedMember)
                self._send(("outcome", Outcome(index, "failed", str(error), again=again)))

    def _read_and_decode_one(self, index: int, name: OutputName) -> _Photo:
        from zipcrop.image import codec

        with machine_faults(f"reading {self._task.zip}"):
            size_of_file, compressed = self._archive.memory(index), self._archive.compressed_size(index)
        far_more = overtime.is_far_more(size_of_file, compressed)
        self._overtime.check(far_more)
        self._budget_for_files.acquire(size_of_file)
        try:
            with machine_faults(f"reading {self._task.zip}"), self._overtime.spent(far_more):
                data = self._archive.read(index)
            with self._board.member(index):
                size = self._allowed_size(data)
                reduction = self._reduction(data, size)
            declared = size[0] * size[1] if size else int(self._task.limits.megapixels * 1e6)
            far_more = far_more or overtime.is_far_more(declared, compressed)
            self._overtime.check(far_more)
            pixels = declared // reduction**2
            # What the photo will hold until it is written: the file, the pixels and the letterbox.
            cost = len(data) + 3 * (pixels + self._task.image_size**2)
            cost_of_decoding = (codec.decoding_bytes(data) - 3) * pixels
            self._budget.acquire(cost + cost_of_decoding)
            try:
                with self._board.member(index), self._overtime.spent(far_more):
                    full, letterbox, letterboxed = self._decode(data, size, reduction)
            except BaseException:
                self._budget.release(cost)
                raise
            finally:
                self._budget.release(cost_of_decoding)
        finally:
            self._budget_for_files.release(size_of_file)
        return _Photo(index, name, data, full, letterbox, letterboxed, cost, far_more)

    def _allowed_size(self, data: bytes) -> tuple[int, int] | None:
        """Width and height by the header, if they can be known. Raises ImageError if that is too much."""
        from zipcrop.image import codec

        size = codec.header_size(data)
        if size is None:
            return None
        limit = self._task.limits.megapixels
        if size[0] * size[1] > limit * 1e6:
            raise ImageError(f"{size[0]}x{size[1]} pixels are more than limits.megapixels ({limit:g})")
        if size[0] * size[1] * codec.decoding_bytes(data) > limit * 1e6 * _MOST_DECODING_BYTES:
            raise ImageError(
                f"{size[0]}x{size[1]} pixels of this format take too much memory to decode (limits.megapixels)"
            )
        return size

    def _decode(
        self, data: bytes, size: tuple[int, int] | None, reduction: int
    ) -> tuple[np.ndarray | None, Letterbox, np.ndarray]:
        """The image in full size, or None if it was reduced; its letterbox; and the image in it."""
        from zipcrop.image import codec

        decoded = codec.decode(data, reduction)
        height, width = decoded.shape[:2]
        if size is not None and reduction > 1:
            # Upright, it may lie on its side.
            width, height = size if (width >= height) == (size[0] >= size[1]) else (size[1], size[0])
        letterbox = self._fit(height, width)
        return decoded if reduction == 1 else None, letterbox, letterbox.apply(decoded)

    def _fit(self, height: int, width: int) -> Letterbox:
        from zipcrop.detect.letterbox import Letterbox

        return Letterbox.fit(height, width, self._task.image_size, self._task.model.stride)

    def _reduction(self, data: bytes, size: tuple[int, int] | None) -> int:
        """By what the photo's sides are divided for detection; `size` is its width and height before EXIF rotation."""

        if self._task.decode != "fast" or size is None or not jpeg.is_jpeg(data):
            return 1
        width, height = size
        reduction = self._fit(height, width).reduction()
        # Nearly square, it would not show whether it was turned.
        nearly_square = width != height and -(-width // reduction) == -(-height // reduction)
        return 1 if nearly_square else reduction

    def _load_and_detect(self) -> None:
        from zipcrop.detect import engine

        task = self._task
        loaded = engine.load(task.model, task.engine, task.device, task.threads, task.batch, task.thresholds)
        # Alone: two threads that infer for the first time at once can deadlock, one with Python's lock and the other
        # with that of pybind11's look-up of NumPy (seen in OpenVINO 2026.4).
        if self._careful:
            engine.try_out(loaded, task.model)
        elif not self._detect_batch(loaded):
            return
        self._send(("ready", None))
        others = self._start(functools.partial(self._detect, loaded), loaded.concurrency - 1)
        self._detect(loaded)
        _finish(others, lambda: None)

    def _detect(self, engine: Engine) -> None:
        while self._detect_batch(engine):
            pass

    def _detect_batch(self, engine: Engine) -> bool:
        """Whether there was a batch, or no more will come."""
        import numpy as np

        photos = self._decoded.take(min(self._task.batch, engine.batch))
        if not photos:
            return False
        batch = np.stack([photo.pixels for photo in photos]) if len(photos) > 1 else photos[0].pixels[np.newaxis]
        with self._board.inference():
            found = engine.detect(batch)
        for photo, persons in zip(photos, found, strict=True):
            self._detected.put((photo, persons))
        return True

    def _write(self) -> None:
        while (item := self._detected.get()) is not None:
            self._write_one(*item)
            del item  # or a giant photo would stay until the next one comes

    def _write_one(self, photo: _Photo, persons: np.ndarray) -> None:
        try:
            outcome = self._keep(photo, persons)
        except ImageError as error:
            height, width = photo.letterbox.height, photo.letterbox.width
            outcome = Outcome(photo.index, "failed", str(error), width, height)
        self._budget.release(photo.cost)
        self._send(("outcome", outcome))

    def _keep(self, photo: _Photo, persons: np.ndarray) -> Outcome:
        """Writes what is kept of `photo`; `persons` as `Engine.detect` gives them."""
        height, width = photo.letterbox.height, photo.letterbox.width
        kept = int((persons[:, 4] > self._task.thresholds.confidence).sum())
        looked_at = persons[: max(1, kept)]  # by falling score: of a photo without people the one that came nearest
        found = [
            # Rounded as the manifest has it, so that the crop is what the manifest says to the pixel.
            Person(_rounded(box), round(float(score), 6))
            for box, score in zip(photo.letterbox.to_image(looked_at[:, :4]), looked_at[:, 4], strict=True)
        ]
        if not kept:
            file = f"No_Person/{self._task.archive}/{photo.name.original}"
            content = self._write_file(file, photo.data)
            return Outcome(photo.index, "no_person", "", width, height, tuple(found), file, (content,))
        # Encoded before any is written: an image leaves all of its crops or none.
        encoded = self._encode_crops(photo, found)
        if not encoded:
            reason = f"no crop has {self._task.crop.min_size} pixels on each side (crop.min_size)"
            return Outcome(photo.index, "rejected", reason, width, height, (found[0],))
        written, contents = [], []
        for k, (person, data) in enumerate(encoded):
            name = photo.name.crop(k, self._task.crop.format)
            file = f"Person/{self._task.archive}/{name}"
            contents.append(self._write_file(file, data))
            written.append(Person(person.box, person.confidence, file))
        return Outcome(photo.index, "person", "", width, height, tuple(written), contents=tuple(contents))

    def _encode_crops(self, photo: _Photo, persons: list[Person]) -> list[tuple[Person, bytes]]:
        """The persons whose crops are large enough, with their crops as files."""
        from zipcrop.image import codec
        from zipcrop.image.crop import crop_slice

        height, width = photo.letterbox.height, photo.letterbox.width
        wanted = [
            (person, (rows, columns))
            for person in persons
            for rows, columns in [crop_slice(person.box, self._task.crop.padding, width, height)]
            if min(rows.stop - rows.start, columns.stop - columns.start) >= self._task.crop.min_size
        ]
        if not wanted:
            return []
        with (
            self._overtime.spent(photo.far_more),
            self._full_size(photo) as pixels,
            self._board.member(photo.index),
        ):
            return [
                (person, codec.encode(pixels[place], self._task.crop.format, self._task.crop.quality))
                for person, place in wanted
            ]

    @contextlib.contextmanager
    def _full_size(self, photo: _Photo) -> Iterator[np.ndarray]:
        """The photo's pixels in full size, decoded if they are not there."""
        from zipcrop.image import codec

        if photo.image is not None:
            yield photo.image
            return
        size = 3 * photo.letterbox.height * photo.letterbox.width
        self._budget_for_crops.acquire(size)
        try:
            with self._board.member(photo.index):
                pixels = codec.decode(photo.data)
            yield pixels
        finally:
            self._budget_for_crops.release(size)

    def _write_file(self, file: str, data: bytes) -> Content:
        path = self._task.staging / file
        with machine_faults(f"writing {path}"):
            files.create(path, data)
        return Content.of(data)


def _rounded(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(edge), 3) for edge in box)
    return x1, y1, x2, y2


def _finish(threads: list[threading.Thread], wake: Callable[[], None]) -> None:
    for _ in threads:
        wake()
    for thread in threads:
        thread.join()
