"""CUDA graphs, played by a CPU: what is captured is recorded tensor by tensor, and done again on the same memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from zipcrop.detect.cuda import CPU


class Freed(Exception):
    """A graph was replayed whose memory is gone. A GPU would read whatever is there now."""


class _Place:
    """Where a tensor lies that a graph does not own: as with a pointer, the memory may go."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._storage = tensor.untyped_storage()._weak_ref()
        self._like = tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride()

    def tensor(self) -> torch.Tensor:
        kind, *place = self._like
        storage = torch.UntypedStorage._new_with_weak_ptr(self._storage)
        if storage is None:
            raise Freed
        return torch.empty(0, dtype=kind).set_(storage, *place)


class _Recording(TorchDispatchMode):  # type: ignore[misc]
    """Records the operations within its `with` block. They change no memory from outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self._own: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        if function._schema.is_mutable and self._is_foreign(arguments[0]):
            result = arguments[0]
        else:
            result = function(*arguments, **options)
            read = {_memory(each) for each in arguments if isinstance(each, torch.Tensor)}
            tree_map(lambda each: self._note(each, read), result)
        self.steps.append((function, self._held(arguments), self._held(options), self._held(result)))
        return result

    def _note(self, tensor: object, read: set[int]) -> None:
        if isinstance(tensor, torch.Tensor) and _memory(tensor) not in read:
            self._own[_memory(tensor)] = tensor

    def _is_foreign(self, tensor: torch.Tensor) -> bool:
        return _memory(tensor) not in self._own

    def _held(self, values: Any) -> Any:
        return tree_map(
            lambda each: _Place(each) if isinstance(each, torch.Tensor) and self._is_foreign(each) else each, values
        )

    def replay(self) -> None:
        for function, arguments, options, result in self.steps:
            again = function(*_there(arguments), **_there(options))
            if not function._schema.is_mutable:
                tree_map(_overwrite, _there(result), again)


def _memory(tensor: torch.Tensor) -> int:
    memory: int = tensor.untyped_storage()._cdata
    return memory


def _there(values: Any) -> Any:
    return tree_map(lambda each: each.tensor() if isinstance(each, _Place) else each, values)


def _overwrite(before: Any, again: Any) -> None:
    if isinstance(before, torch.Tensor) and before.data_ptr() != again.data_ptr():
        before.copy_(again)


class Graphs(CPU):
    """A CPU that has whole batches and graphs, as a GPU does, and notes what is asked of it in `log`."""

    whole_batches = True

    def __init__(self) -> None:
        self.log: list[str] = []
        self.is_capturing = False
        self.can_capture = True
        self._valid = 0

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:  # type: ignore[override]
        """See `Hardware`."""
        self.log.append("capture")
        with self._capturing(), _Recording() as recording:
            work()
            if not self.can_capture:
                raise RuntimeError("operation not permitted when stream is capturing")
        valid = self._valid

        def replay() -> None:
            if valid != self._valid:
                raise Freed
            self.log.append("replay")
            recording.replay()

        return replay

    @contextlib.contextmanager
    def _capturing(self) -> Iterator[None]:
        self.is_capturing = True
        try:
            yield
        finally:
            self.is_capturing = False

    def clear(self) -> None:
        """See `Hardware`."""
        self.log.append("clear")
        self._valid += 1
