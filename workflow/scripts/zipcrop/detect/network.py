"""The network of a GPU's engine process: batches of letterboxed photos in, dense predictions out.

A forward pass is some 1,200 launches, which take longer than the arithmetic. So each rectangle becomes a CUDA
graph, a single launch, and all batches have one size, whose tail nobody reads: a photo's result then does not depend on
its neighbours. Everything on the GPU is called from one thread, since cuDNN keeps what it has planned per thread
(pytorch#103939).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from zipcrop.detect.cuda import CUDA, Hardware
from zipcrop.detect.pytorch import Detector
from zipcrop.errors import MachineError, OutOfGPUMemory

if TYPE_CHECKING:
    from zipcrop.detect.model import Model

NO_GPU_MEMORY = (
    "the GPU has no memory left, even for a single photo; end other programs that use it, or lower image_size, or set "
    "device to cpu, and run again"
)
_CALM = 60.0
"""Seconds without a shortage of memory after which a larger batch is tried again."""
_MOST_PIXEL_BYTES = 512 * 1024**2
"""Of a batch: it lies three times in memory, twice of this process."""
_SHORTAGES = ("out of memory", "STATUS_ALLOC_FAILED")
"""What CUDA, cuDNN and cuBLAS say of it in a RuntimeError."""


class Dense(Protocol):
    """What `Network` asks of a detector; see `Detector`."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def prepare(self, height: int, width: int) -> int:
        """See `Detector.prepare`."""
        ...

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Detector.__call__`."""
        ...


@dataclass(frozen=True)
class Batch:
    """A batch that the device is at."""

    prediction: torch.Tensor
    """Where the prediction will be, float32 (N, 5, anchors), in memory of this process."""
    wait: Callable[[], None]


class Network:
    """A detector that is given one batch while it is at another. For one thread."""

    def __init__(self, detector: Dense, image_size: int, batch: int, hardware: Hardware) -> None:
        """For letterboxes of up to `image_size` pixels on each side and batches of up to `batch` photos."""
        self._detector = detector
        self._hardware = hardware
        self.image_size = image_size
        self._most = max(1, min(batch, _MOST_PIXEL_BYTES // (3 * image_size**2)))
        self.batch = self._most
        self._anchors = detector.prepare(image_size, image_size)
        self._memory: _Memory | None = None
        self._graphs: dict[tuple[int, int], Callable[[], None] | None] = {}
        """By rectangle: the captured work, or None where a batch was inferred once without. A graph reads the anchors
        of its rectangle, which the detector keeps."""
        self._captures = True
        self._short_at = 0.0

    def start(self, photos: Sequence[np.ndarray]) -> Batch:
        """Gives the device letterboxed photos of one shape, uint8 (H, W, 3) BGR, `batch` of them at most. All batches
        but the last one must have been finished.

        Raises OutOfGPUMemory, after which `batch` is smaller and the same photos can be tried again, and MachineError
        if there is too little memory for one photo; torch may raise anything.
        """
        with torch.inference_mode(), self._hardware.run():
            if self.batch < self._most and time.monotonic() - self._short_at >= _CALM:
                self._resize(min(2 * self.batch, self._most))
            with contextlib.suppress(OutOfGPUMemory), _shortages():
                return self._start(photos)
            # Not until the exception is gone, and with it the tensors that its frames hold.
            if self.batch == 1:
                raise MachineError(NO_GPU_MEMORY)
            self._short_at = time.monotonic()
            self._resize(self.batch // 2)
        raise OutOfGPUMemory

    def finish(self, batch: Batch) -> np.ndarray:
        """What the network says of each photo of a batch, float32 (N, 5, anchors), see `Detector`. It stays there until
        the next batch but one is started."""
        batch.wait()
        prediction: np.ndarray = batch.prediction.numpy()
        return prediction

    def _start(self, photos: Sequence[np.ndarray]) -> Batch:
        if self._memory is None:
            self._memory = _Memory.allocate(
                self._hardware, self._detector.device, self.batch, self.image_size, self._anchors
            )
        memory = self._memory
        count, (height, width) = len(photos), photos[0].shape[:2]
        memory.side = 1 - memory.side
        size = count * height * width * 3
        gathered = memory.to_device[memory.side][:size]
        np.stack(photos, out=gathered.numpy().reshape(count, height, width, 3))
        memory.pixels[:size].copy_(gathered, non_blocking=True)
        # The tail of a whole batch keeps pixels of earlier ones, of whose prediction nothing is copied.
        prediction = self._infer(memory, self.batch if self._hardware.whole_batches else count, height, width)[:count]
        copied = memory.to_host[memory.side][: prediction.numel()].view(prediction.shape)
        copied.copy_(prediction, non_blocking=True)
        return Batch(copied, self._hardware.event())

    def _infer(self, memory: _Memory, count: int, height: int, width: int) -> torch.Tensor:
        """Has the device infer the first `count` photos in its memory; gives where the prediction will be there."""
        anchors = self._detector.prepare(height, width)
        pixels = memory.pixels[: count * height * width * 3].view(count, height, width, 3)
        prediction = memory.prediction[: count * 5 * anchors].view(count, 5, anchors)

        def work() -> None:
            prediction.copy_(self._detector(pixels))

        shape = (height, width)
        if shape in self._graphs and self._graphs[shape] is None and self._captures:
            self._graphs[shape] = self._capture(work)
        # A rectangle that comes once is not worth a graph; and before it is captured, cuDNN must have made its plans.
        (self._graphs.setdefault(shape, None) or work)()
        return prediction

    def _capture(self, work: Callable[[], None]) -> Callable[[], None] | None:
        is_short = False
        try:
            with _shortages():
                return self._hardware.capture(work)
        except OutOfGPUMemory:
            is_short = self.batch > 1
        except RuntimeError:
            pass
        # What was being captured has leaked its memory, which is not to happen again and again.
        self._graphs.clear()
        self._hardware.clear()
        if is_short:
            self._most = self.batch // 2
            raise OutOfGPUMemory
        self._captures = False
        return None

    def _resize(self, batch: int) -> None:
        self.batch = batch
        self._memory = None
        # Never one of them alone: they share their memory.
        self._graphs.clear()
        self._hardware.clear()


@dataclass
class _Memory:
    """Memory for batches, flat; the same for all rectangles, so that graphs can refer to it."""

    pixels: torch.Tensor
    prediction: torch.Tensor
    to_device: list[torch.Tensor]
    """In this process, for pixels of two batches."""
    to_host: list[torch.Tensor]
    """In this process, for predictions of two batches."""
    side: int = 0
    """Which of the two is in use."""

    @classmethod
    def allocate(cls, hardware: Hardware, device: torch.device, batch: int, image_size: int, anchors: int) -> _Memory:
        pixels, numbers = batch * image_size**2 * 3, batch * 5 * anchors
        return cls(
            torch.zeros(pixels, dtype=torch.uint8, device=device),
            torch.zeros(numbers, dtype=torch.float32, device=device),
            [hardware.host(pixels, torch.uint8) for _ in range(2)],
            [hardware.host(numbers, torch.float32) for _ in range(2)],
        )


@contextlib.contextmanager
def _shortages() -> Iterator[None]:
    """Turns what torch raises where the GPU has too little memory into OutOfGPUMemory."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not any(words in str(error) for words in _SHORTAGES):
            raise
    else:
        return
    raise OutOfGPUMemory


def load(model: Model, image_size: int, batch: int) -> Network:
    """The network of `model` on the GPU that CUDA sees first, for letterboxes of up to `image_size` pixels a side.

    Raises ModelError where the weights are damaged, MachineError where the GPU has too little memory; torch may raise
    anything where it cannot use the GPU.
    """
    try:
        with _shortages():
            hardware = CUDA()
            # Weights reach the GPU in the order in which they are used there.
            with hardware.run():
                detector = Detector(model, torch.device("cuda"), torch.float16)
                return Network(detector, image_size, batch, hardware)
    except OutOfGPUMemory:
        raise MachineError(NO_GPU_MEMORY) from None


def try_out(network: Network, stride: int) -> None:
    """Has the network look at a small grey photo, which shows whether it works at all. `stride` is its largest.

    Raises what `Network.start` does.
    """
    side = min(2 * stride, network.image_size)
    grey = np.full((side, side, 3), 114, np.uint8)
    while True:
        with contextlib.suppress(OutOfGPUMemory):
            network.finish(network.start([grey]))
            return
