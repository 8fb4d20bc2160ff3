"""Workers of a pool that do no work, but die in every way.

In a module of their own, since every one that starts imports it: one that imports pytest takes four times as long.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from zipcrop.job import channel
from zipcrop.process.overtime import Overtime
from zipcrop.process.watchdog import Board
from zipcrop.results.manifest import Outcome
from zipcrop.results.names import OutputName

if TYPE_CHECKING:
    from zipcrop.detect.lease import Address
    from zipcrop.job.entry import Shared

NAMES = {index: OutputName(f"{index}.jpg", str(index)) for index in range(200)}


@dataclasses.dataclass(frozen=True)
class FakeTask:
    deadly: frozenset[int] = frozenset()
    dead_at_start: bool = False
    deadly_while_loading: bool = False
    """The deadly members kill it before its engine has worked, if it has got them by then."""
    broken_engine: bool = False
    """It dies as soon as the engine is used."""
    fault: str = ""
    kind: str = "fault"
    hanging: frozenset[int] = frozenset()
    far_more: frozenset[int] = frozenset()
    """Those that declare far more than their bytes hold."""
    seconds: float = 2.0
    out_of_memory: frozenset[int] = frozenset()
    killed: frozenset[int] = frozenset()
    """Members at which somebody kills the worker."""
    tries: Path | None = None
    """A file that counts deaths; the worker dies only of the first `deaths` of them."""
    deaths: int = 1 << 30
    stuck_engine: bool = False
    chunk: int = 8
    threads: int = 1

    @property
    def job(self) -> SimpleNamespace:
        """The parts of the job that the pool looks at."""
        limits = SimpleNamespace(seconds=self.seconds)
        return SimpleNamespace(log=Path("some.log"), zip="some.zip", settings=SimpleNamespace(limits=limits))


def fake_worker(connection: Connection, shared: Shared, task: FakeTask, address: Address | None, careful: bool) -> None:
    board, overtime = Board(shared.board), Overtime(shared.account, shared.cell, task.seconds)
    if task.dead_at_start:
        os._exit(3)
    if task.broken_engine:
        if not careful:
            connection.recv()
        os.kill(os.getpid(), signal.SIGILL)
    if task.deadly_while_loading and not careful:
        indices = dict(connection.recv())
        if task.deadly & set(indices):
            os.kill(os.getpid(), signal.SIGSEGV)
        for index in indices:
            connection.send(("outcome", Outcome(index, "skipped", str(os.getpid()))))
    connection.send(("ready", None))
    while (members := connection.recv()) is not None:
        for index, name in members:
            assert name == NAMES[index]
            if index in task.deadly | task.out_of_memory | task.killed and dies(task):
                if index in task.out_of_memory:
                    os._exit(channel.OUT_OF_MEMORY)
                os.kill(os.getpid(), signal.SIGSEGV if index in task.deadly else signal.SIGKILL)
            if index in task.hanging:
                with board.member(index), overtime.spent(index in task.far_more):
                    time.sleep(60)
            if task.stuck_engine:
                with board.inference():
                    time.sleep(60)
            if task.fault:
                connection.send((task.kind, task.fault))
                time.sleep(60)
            time.sleep(0.002)
            connection.send(("outcome", Outcome(index, "skipped", address.gpu.name if address else str(os.getpid()))))


def dies(task: FakeTask) -> bool:
    if task.tries is None:
        return True
    with task.tries.open("ab") as file:
        file.write(b".")
    return task.tries.stat().st_size <= task.deaths
