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
from zipcrop.errors import MachineError, OutOfGPUMemory, one_line
from zipcrop.terminal import say

if TYPE_CHECKING:
    from zipcrop.detect.model import Model

NO_GPU_MEMORY = (
    "the GPU has no memory left, even for a single photo; end other programs that use it, or lower image_size, or set "
    "device to cpu, and run again"
)
_CALM = 60.0
_MOST_CALM = 3600.0
"""Seconds without a shortage of memory after which whole batches are tried again; twice as many after a try in vain."""
_MOST_PIXEL_BYTES = 512 * 1024**2
"""Of a batch: it lies three times in memory, twice of this process."""
_SHORTAGES = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
"""What CUDA, cuBLAS and cuDNN say of a shortage in a RuntimeError."""
_HIDDEN_SHORTAGE = "unable to find an engine"
"""What torch says where each of cuDNN's ways to convolve has run short (pytorch#108645). On a GPU that cuDNN does not
support, it says the same."""


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
        self._calm = _CALM
        self._has_grown = False
        """Whether whole batches are being tried again, after a shortage."""
        self._has_worked = False

    def start(self, photos: Sequence[np.ndarray]) -> Batch:
        """Gives the device letterboxed photos of one shape, uint8 (H, W, 3) BGR, `batch` of them at most. All batches
        but the last one must have been finished.

        Raises OutOfGPUMemory, after which `batch` is smaller and the same photos can be tried again, and MachineError
        if there is too little memory for one photo; torch may raise anything.
        """
        with torch.inference_mode(), self._hardware.run():
            if self.batch < self._most and time.monotonic() - self._short_at >= self._calm:
                self._has_grown = True
                self._resize(self._most)
            with contextlib.suppress(OutOfGPUMemory), self._shortages():
                batch = self._start(photos)
                self._has_worked = True
                return batch
            # Not until the exception is gone, and with it the tensors that its frames hold.
            if self.batch == 1:
                raise MachineError(NO_GPU_MEMORY)
            if self._has_grown:  # in vain
                self._has_grown = False
                self._calm = min(2 * self._calm, _MOST_CALM)
            self._short_at = time.monotonic()
            self._resize(self.batch // 2)
        raise OutOfGPUMemory

    def _shortages(self) -> contextlib.AbstractContextManager[None]:
        return _shortages(lambda: self._has_worked or self._hardware.is_full())

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
        try:
            with self._shortages():
                return self._hardware.capture(work)
        except OutOfGPUMemory:
            if self.batch > 1:
                raise
        except RuntimeError as error:
            say(f"there are no more CUDA graphs: {one_line(str(error))}")
        # What was being captured has leaked its memory. That is not to happen again and again.
        self._captures = False
        self._drop()
        return None

    def _resize(self, batch: int) -> None:
        self.batch = batch
        self._memory = None
        self._drop()

    def _drop(self) -> None:
        """Drops all graphs: never one of them alone, since they share their memory."""
        self._hardware.wait()
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
def _shortages(also_hidden: Callable[[], bool]) -> Iterator[None]:
    """Turns what torch raises where the GPU has too little memory into OutOfGPUMemory. `also_hidden` tells, after the
    fact, whether a convolution that fails is taken for a shortage."""
    try:
        yield
    except RuntimeError as error:
        if not _is_shortage(error, also_hidden()):
            raise
    else:
        return
    raise OutOfGPUMemory


def _is_shortage(error: BaseException | None, also_hidden: bool) -> bool:
    """Whether a shortage of memory is `error`, or came before it: what fails in a capture is followed by the failure to
    end that."""
    while error is not None:
        said = str(error)
        if isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _SHORTAGES):
            return True
        if also_hidden and _HIDDEN_SHORTAGE in said:
            return True
        error = error.__context__
    return False


def load(model: Model, image_size: int, batch: int) -> Network:
    """The network of `model` on the GPU that CUDA sees first, for letterboxes of up to `image_size` pixels a side.

    Raises ModelError where the weights are damaged, MachineError where the GPU has too little memory; torch may raise
    anything where it cannot use the GPU.
    """
    try:
        with _shortages(also_hidden=lambda: False):
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
