"""A pool of worker processes that outlives its workers: a member that kills one is found and recorded as failed."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection as mp_connection
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zipcrop.errors import EngineHangs, MachineError
from zipcrop.job import channel, entry
from zipcrop.process import overtime
from zipcrop.process.overtime import Overtime
from zipcrop.process.watchdog import Watchdog
from zipcrop.results.manifest import Outcome

if TYPE_CHECKING:
    from zipcrop.detect.lease import Address
    from zipcrop.job.task import Task
    from zipcrop.results.names import OutputName

# How often workers are looked at, seconds.
_INTERVAL = 1.0
# An inference takes milliseconds, on slow machines seconds. What takes this long will not come any more.
_INFERENCE_SECONDS = 600.0
# While a worker writes the end of one chunk, it already decodes the next.
_CHUNKS_AHEAD = 2
_CRASHES = frozenset(
    (
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGSYS,
        signal.SIGTRAP,
    )
)
"""The signals that a decoder dies of by itself. Others come from outside."""
_MOST_CRASHES_TRIED_ALONE = 20
"""Each costs the start of a worker. If there are more, the cause is not a lack of memory."""


@dataclass
class _Chunk:
    """Members that go to a worker together."""

    indices: list[int]
    suspect: bool = False
    """Whether one of its members may have killed a worker. The worker that does it then gets no other chunk."""


@dataclass(eq=False)
class _Process:
    process: multiprocessing.process.BaseProcess
    connection: mp_connection.Connection
    watchdog: Watchdog
    address: Address | None
    """Of the engine process that it uses, if it does not infer itself."""
    cell: int
    """Its index in the account of overtime."""
    ready: bool = False
    """Whether its engine has worked at least once."""
    chunks: list[_Chunk] = field(default_factory=list)
    """The members that it has not finished."""
    hung: set[int] = field(default_factory=set)
    """The members for which it was killed, one of which hangs."""


class Pool:
    """Spawned worker processes that work on one archive."""

    def __init__(
        self, task: Task, names: Mapping[int, OutputName], count: int, addresses: Sequence[Address] = ()
    ) -> None:
        """Prepares `count` workers for `task`, and starts none. They spread over the engine processes at `addresses`,
        if any. Workers get the `names` of members' outputs with the members, since there may be a million."""
        self.task = task
        self._seconds = task.job.settings.limits.seconds
        self._names = names
        self._count = count
        self._addresses = addresses or (None,)
        self._context = multiprocessing.get_context("spawn")  # threads do not survive a fork
        self._account = self._context.RawArray("d", overtime.numbers(count))
        self._processes: list[_Process] = []
        self._pending: deque[_Chunk] = deque()
        self._looked = time.monotonic()
        self._to_be_tried_alone: list[int] = []
        """Members at which a worker died. Each is tried again after all others, by the only worker, which then has all
        memory to itself."""
        self._is_last_try = False
        self._careful = False
        """Whether a worker has died before it was ready. The next ones get no member before they are ready, which tells
        whether the engine or a member was the cause."""

    def run(self, indices: Sequence[int]) -> Iterator[Outcome]:
        """Starts the workers, and gives the outcomes of the members in `indices`, in the order in which they come.

        The iterator raises MachineError if a worker meets a fault of the machine or cannot start.
        """
        size = max(1, min(self.task.chunk, -(-len(indices) // (4 * self._count))))
        self._pending.extend(_Chunk(list(indices[at : at + size])) for at in range(0, len(indices), size))
        for _ in range(min(self._count, len(self._pending))):
            self._start(careful=False)
        return self._outcomes()

    def _outcomes(self) -> Iterator[Outcome]:
        try:
            yield from self._work_off()
            if self._to_be_tried_alone:
                yield from self._try_alone()
            self._dismiss()
        finally:
            self._kill()

    def _work_off(self) -> Iterator[Outcome]:
        while self._pending or any(process.chunks for process in self._processes):
            self._hand_out()
            connections = [process.connection for process in self._processes]
            for connection in mp_connection.wait(connections, timeout=_INTERVAL):
                process = next(p for p in self._processes if p.connection is connection)
                yield from self._receive(process)
            self._kill_hanging()

    def _try_alone(self) -> Iterator[Outcome]:
        """Tries members at which workers were killed once more, each with all of the machine's memory to itself."""
        self._dismiss()
        self._forget()
        indices, self._to_be_tried_alone = self._to_be_tried_alone, []
        self._is_last_try = True
        self._pending.extend(_Chunk([index], suspect=True) for index in indices)
        self._start(careful=True)
        yield from self._work_off()

    def _start(self, careful: bool) -> None:
        """Starts a worker. A `careful` one gets ready by itself, without any member."""
        ours, theirs = self._context.Pipe()
        board = self._context.RawArray("q", entry.most_busy_threads(self.task.threads))
        address = min(self._addresses, key=[process.address for process in self._processes].count)
        cell = min(set(range(self._count)) - {process.cell for process in self._processes})
        shared = entry.Shared(board, self._account, cell)
        arguments = (theirs, shared, self.task, address, careful)
        process = self._context.Process(target=entry.main, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        watchdog = Watchdog(board, self._seconds, _INFERENCE_SECONDS)
        self._processes.append(_Process(process, ours, watchdog, address, cell))

    def _hand_out(self) -> None:
        for process in self._processes:
            while self._pending and self._has_room(process):
                chunk = self._pending.popleft()
                process.chunks.append(chunk)
                try:
                    process.connection.send([(index, self._names[index]) for index in chunk.indices])
                except (BrokenPipeError, ConnectionError):
                    break  # it has died; `_receive` deals with that

    def _has_room(self, process: _Process) -> bool:
        if not process.ready and (self._careful or self._pending[0].suspect):
            return False
        if any(chunk.suspect for chunk in process.chunks):
            return False
        return len(process.chunks) < (1 if self._pending[0].suspect else _CHUNKS_AHEAD)

    def _receive(self, process: _Process) -> Iterator[Outcome]:
        try:
            kind, value = process.connection.recv()
        except (EOFError, OSError):  # also in the middle of a message
            yield from self._bury(process)
            return
        if kind in channel.FAULTS:
            raise channel.FAULTS[kind](value, process.address)
        if kind == "ready":
            process.ready = True
        else:
            for chunk in process.chunks:
                if value.index in chunk.indices:
                    chunk.indices.remove(value.index)
            process.chunks = [chunk for chunk in process.chunks if chunk.indices]
            yield value

    def _kill_hanging(self) -> None:
        """Kills workers that hang in a member; `_receive` does the rest."""
        now = time.monotonic()
        # Not more: if this process was stopped meanwhile, so were the workers.
        elapsed = min(now - self._looked, 2 * _INTERVAL)
        if elapsed < _INTERVAL:
            return
        self._looked = now
        for process in self._processes:
            process.watchdog.look(elapsed)
            if process.watchdog.inference_hangs():
                raise EngineHangs(
                    f"the engine has not answered for {_INFERENCE_SECONDS:.0f} s; see that the device works, and run "
                    f"again (details may be in {self.task.job.log})",
                    process.address,
                )
            if not process.hung and (hanging := process.watchdog.hanging()):
                process.hung = hanging
                process.process.kill()

    def _bury(self, process: _Process) -> Iterator[Outcome]:
        """Replaces a worker that died. Halves its unfinished members until the one that killed it is alone."""
        process.process.join()
        process.connection.close()
        self._processes.remove(process)
        Overtime(self._account, process.cell, self._seconds).settle(process.watchdog.longest())
        unfinished = [index for chunk in process.chunks for index in chunk.indices]
        if process.hung:
            yield from self._give_up_or_try_alone(process.hung, unfinished)
        else:
            yield from self._suspect(process, unfinished)
        if self._pending:
            self._start(careful=True)  # suspects wait until a worker is ready

    def _give_up_or_try_alone(self, hung: set[int], unfinished: list[int]) -> Iterator[Outcome]:
        candidates = [index for index in unfinished if index in hung]
        others = [index for index in unfinished if index not in hung]
        if others:
            self._pending.appendleft(_Chunk(others))
        if len(candidates) == 1:
            reason = f"was not decoded and written within {self._seconds:g} s (limits.seconds)"
            yield Outcome(candidates[0], "failed", reason)
        else:
            self._pending.extendleft(_Chunk([index], suspect=True) for index in candidates)

    def _suspect(self, process: _Process, unfinished: list[int]) -> Iterator[Outcome]:
        how = _cause_of_death(process.process.exitcode)
        if not unfinished:
            when = "with nothing to do" if process.ready else "while it loaded the engine"
            raise MachineError(f"a worker process {how} {when}; see {self.task.job.log}")
        if not process.ready:
            self._careful = True
            self._pending.appendleft(_Chunk(unfinished, suspect=True))
        elif len(unfinished) == 1 and process.chunks[0].suspect:
            yield from self._blame(unfinished[0], process.process.exitcode, how)
        else:
            # A single member gets a second try as well: the process may have been killed from outside.
            half = len(unfinished) // 2
            parts = (unfinished[half:], unfinished[:half])
            self._pending.extendleft(_Chunk(part, suspect=True) for part in parts if part)

    def _blame(self, index: int, exitcode: int | None, how: str) -> Iterator[Outcome]:
        """Decides about the member at `index`: a worker died that had nothing else to do."""
        crashed = exitcode is not None and -exitcode in _CRASHES
        if not self._is_last_try and not (crashed and len(self._to_be_tried_alone) >= _MOST_CRASHES_TRIED_ALONE):
            self._to_be_tried_alone.append(index)
        elif exitcode is not None and exitcode < 0 and not crashed:
            # No decoder does that to itself. Memory may be short, or somebody kills workers: the photo may be good.
            raise MachineError(
                f"the process that worked on member {index} of {self.task.job.zip}, alone, {how}; see that there is"
                " memory enough, or have so large a photo refused by a lower limits.megapixels, and run again"
            )
        else:
            yield Outcome(index, "failed", f"the process that worked on it {how}", again=not crashed)

    def _dismiss(self) -> None:
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError, ConnectionError):  # it has died, with nothing left to do
                process.connection.send(None)
        for process in self._processes:
            process.process.join()

    def stop(self) -> None:
        """Kills the workers that `run` has started, if its iterator will not be used up."""
        self._pending.clear()
        self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            process.process.kill()
            process.process.join()
        self._forget()

    def _forget(self) -> None:
        """Drops workers that have ended."""
        for process in self._processes:
            process.connection.close()
        self._processes.clear()


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode == channel.OUT_OF_MEMORY:
        return "ran out of memory"
    if exitcode == -signal.SIGKILL:
        return "was killed by SIGKILL, as systems do when memory runs out"
    if exitcode is not None and exitcode < 0:
        try:
            return f"was killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"was killed by signal {-exitcode}"
    return f"ended with exit status {exitcode}"
