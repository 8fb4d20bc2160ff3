"""Isolation: functions that run in other processes, so that a call that crashes or hangs costs its own result alone."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Self, TypeVar

import pebble

from zipcrop.errors import MachineError
from zipcrop.process import orphan

_AHEAD = 4
"""Calls per process that are under way or whose results wait for the caller. More would fill the memory."""
_TRIES = 3
"""How often the processes are started anew for a call. pebble gives all of them up if one dies while it is idle, or
before it has reported its start."""
Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Isolation:
    """Spawned processes. None of them runs before `start` or the first call."""

    def __init__(self, processes: int, seconds: float, prepare: Callable[[], None]) -> None:
        """Each of the `processes` calls `prepare` first; a call may take `seconds` at most. Functions have to be in
        modules that can be imported."""
        self._processes = processes
        self._seconds = seconds
        self._prepare = prepare
        self._pool = self._new()

    def _new(self) -> pebble.ProcessPool:
        context = multiprocessing.get_context("spawn")
        return pebble.ProcessPool(self._processes, initializer=_begin, initargs=(self._prepare,), context=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _end(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def start(self) -> None:
        """Starts the processes, so that they are ready for the first call."""
        self._pool.schedule(_nothing)

    def map(self, function: Callable[[Argument], Result], arguments: Iterable[Argument]) -> Iterator[Result | None]:
        """The results of `function` for `arguments`, in their order; None where it crashed its process, took too long
        or had too little memory.

        Raises MachineError where the processes cannot start, and all other exceptions of the function.
        """
        pending: deque[tuple[Argument, Future[Result]]] = deque()
        for argument in arguments:
            pending.append((argument, self._schedule(function, argument)))
            if len(pending) == _AHEAD * self._processes:
                yield self._next(function, pending)
        while pending:
            yield self._next(function, pending)

    def _schedule(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        try:
            return self._pool.schedule(function, (argument,), timeout=self._seconds)
        except RuntimeError:  # the pool has been given up
            given_up: Future[Result] = Future()
            given_up.set_exception(BrokenProcessPool())
            return given_up

    def _next(
        self, function: Callable[[Argument], Result], pending: deque[tuple[Argument, Future[Result]]]
    ) -> Result | None:
        """Takes the first result of `pending`; calls that have to be made again are put back there."""
        for _ in range(_TRIES):
            try:
                result = pending[0][1].result()
            except BrokenProcessPool:
                self._end()
                self._pool = self._new()
                again = [(argument, self._schedule(function, argument)) for argument, _ in pending]
                pending.clear()
                pending.extend(again)
                continue
            except (pebble.ProcessExpired, TimeoutError, MemoryError):
                result = None
            pending.popleft()
            return result
        raise MachineError(
            "processes that decode photos cannot be started; see that there is enough memory, and run again"
        )


def _nothing() -> None:
    pass


def _begin(prepare: Callable[[], None]) -> None:
    orphan.die_with_parent()
    prepare()
