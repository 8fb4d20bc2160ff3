"""The channel between a worker and its pool: which messages there are, and a worker's end of it."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection
from typing import Literal, TypeAlias

from zipcrop.errors import EngineError, EngineGone, GPUUnusable, ZipcropError
from zipcrop.results.manifest import Outcome
from zipcrop.results.names import OutputName

OUT_OF_MEMORY = 75
"""Exit status of a worker that has no memory left. The pool then halves the members that it had in hand until each is
alone, as it does after a crash."""

Fault: TypeAlias = Literal["fault", "gone", "unusable"]
Message: TypeAlias = tuple[Literal["ready"], None] | tuple[Literal["outcome"], Outcome] | tuple[Fault, str]
"""To the pool: the engine has worked for the first time; a member is done; the workers have to end, with that
sentence."""
FAULTS: dict[str, type[EngineError]] = {"fault": EngineError, "gone": EngineGone, "unusable": GPUUnusable}
"""What the pool raises for a fault."""
Members: TypeAlias = list[tuple[int, OutputName]]
"""From the pool, which sends None at the end: the members to do, each with its index and its output name."""


def fault(error: ZipcropError) -> Message:
    """The message that says `error` ends the workers."""
    if isinstance(error, EngineGone):
        return "gone", str(error)
    return ("unusable" if isinstance(error, GPUUnusable) else "fault"), str(error)


class Channel:
    """A worker's end. Its threads may share it. Once the job is gone nobody waits for results, so each method then ends
    the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Sends a message to the pool."""
        try:
            with self._sending:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionError):
            os._exit(1)

    def receive(self) -> Members | None:
        """The next members to do; None at the end."""
        try:
            members: Members | None = self._connection.recv()
        except (EOFError, ConnectionError):
            os._exit(1)
        return members

    def exit_without_memory(self) -> None:
        """Ends the process because it has no memory left."""
        with self._sending:  # not in the middle of a message
            os._exit(OUT_OF_MEMORY)
