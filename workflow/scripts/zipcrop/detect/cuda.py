"""What the network on a GPU asks of CUDA: a stream, pinned memory, events, graphs. And its stand-in on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import torch

_NEXT_TO_NOTHING = 256 * 1024**2


class Hardware(Protocol):
    """What `Network` asks of the device."""

    whole_batches: bool
    """Whether all batches have one size."""

    def run(self) -> contextlib.AbstractContextManager[object]:
        """Everything that `Network` does, it does in such a `with` block."""
        ...

    def host(self, size: int, kind: torch.dtype) -> torch.Tensor:
        """Memory of this process that the device can copy from and to by itself."""
        ...

    def event(self) -> Callable[[], None]:
        """A function that waits until all that has been asked of the device until now is done."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """Records what `work` asks of the device, without doing it; gives a function that does it. None where that is
        not to be had. May raise RuntimeError."""
        ...

    def wait(self) -> None:
        """Waits until the device has done all that it was asked."""
        ...

    def clear(self) -> None:
        """Frees memory that is not in use any more."""
        ...

    def is_full(self) -> bool:
        """Whether the device has next to no memory left."""
        ...


class CUDA:
    """The GPU."""

    whole_batches = True

    def __init__(self) -> None:
        """Raises RuntimeError if torch cannot use it."""
        torch.cuda.init()  # says best why not
        # Results are to be the same each time, and the same as the CPU's but for f16.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        self._stream = torch.cuda.Stream()
        self._pool: tuple[int, int] | None = None

    def run(self) -> contextlib.AbstractContextManager[object]:
        """See `Hardware`."""
        stream: contextlib.AbstractContextManager[object] = torch.cuda.stream(self._stream)
        return stream

    def host(self, size: int, kind: torch.dtype) -> torch.Tensor:
        """See `Hardware`."""
        return torch.empty(size, dtype=kind, pin_memory=True)

    def event(self) -> Callable[[], None]:
        """See `Hardware`."""
        event = torch.cuda.Event(blocking=True)  # else a core would spin while the GPU works
        event.record()
        wait: Callable[[], None] = event.synchronize
        return wait

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Hardware`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        # One pool for all graphs: they run one after the other, so that each may use the memory of the others.
        self._pool = self._pool or graph.pool()
        replay: Callable[[], None] = graph.replay
        return replay

    def wait(self) -> None:
        """See `Hardware`."""
        torch.cuda.synchronize()

    def clear(self) -> None:
        """See `Hardware`."""
        self._pool = None
        torch.cuda.empty_cache()

    def is_full(self) -> bool:
        """See `Hardware`."""
        free, _ = torch.cuda.mem_get_info()
        return int(free) < _NEXT_TO_NOTHING


class CPU:
    """A CPU in place of a GPU."""

    whole_batches = False

    def run(self) -> contextlib.AbstractContextManager[object]:
        """See `Hardware`."""
        return contextlib.nullcontext()

    def host(self, size: int, kind: torch.dtype) -> torch.Tensor:
        """See `Hardware`."""
        return torch.empty(size, dtype=kind)

    def event(self) -> Callable[[], None]:
        """See `Hardware`."""
        return lambda: None

    def capture(self, work: Callable[[], None]) -> None:
        """See `Hardware`."""

    def wait(self) -> None:
        """See `Hardware`."""

    def clear(self) -> None:
        """See `Hardware`."""

    def is_full(self) -> bool:
        """See `Hardware`."""
        return False
