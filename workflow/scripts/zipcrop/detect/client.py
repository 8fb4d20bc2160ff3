"""A worker's side of the engine process of a GPU, see `server`."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from zipcrop.detect import protocol, slots
from zipcrop.detect.inference import Callbacks, Slot
from zipcrop.errors import EngineGone, GPUUnusable, MachineError

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.detect.lease import Address

T = TypeVar("T")


class RemoteInference(Generic[T]):
    """The engine process of a GPU, which other workers and jobs use as well."""

    def __init__(self, address: Address, count: int, select_persons: Callable[[np.ndarray], np.ndarray]) -> None:
        """Connects to the engine process at `address`, with `count` slots. `select_persons` gives the persons in what
        `network.Detector` says of one photo.

        Raises EngineGone if there is no such process.
        """
        self._address = address
        self._select = select_persons
        self._slots, descriptor = slots.create(count, slots.slot_bytes(address.spec.image_size))
        # The last one used is still in the caches. None where no slot will come any more.
        self._free: queue.LifoQueue[int | None] = queue.LifoQueue()
        for number in range(count):
            self._free.put(number)
        self._lock = threading.Lock()
        self._in_flight: dict[int, T] = {}
        self._closed = False
        self._receiving = threading.Lock()
        self._fault: protocol.Fault | None = None
        """Of the process, once one of the threads has read it."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with self._connected():
                self._socket = address.connect()
                hello = address.spec.hello(count, slots.slot_bytes(address.spec.image_size))
                protocol.send(self._socket, hello, descriptor)
        finally:
            os.close(descriptor)

    def reserve(self, shape: tuple[int, int]) -> Slot:
        """See `Inference`. Waits until there is a free slot. Raises as `run` does, once it has."""
        number = self._free.get()
        if number is None:
            self._free.put(None)  # for the next one
            raise self._failure()
        return Slot(self._slots.pixels(number, *shape), number)

    def give_back(self, slot: Slot) -> None:
        """See `Inference`."""
        self._free.put(slot.number)

    def submit(self, item: T, slot: Slot) -> None:
        """See `Inference`. Raises EngineGone."""
        with self._lock:
            self._in_flight[slot.number] = item
            is_first = len(self._in_flight) == 1
        height, width = slot.pixels.shape[:2]
        with self._connected():
            protocol.send(self._socket, protocol.Photo(slot.number, height, width))
        if is_first:
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """See `Inference`."""
        self._closed = True
        os.eventfd_write(self._wake, 1)

    def run(self, callbacks: Callbacks[T]) -> None:
        """See `Inference`. Raises EngineGone where the process has ended, GPUUnusable where it cannot use the GPU, and
        MachineError for other faults of the machine."""
        try:
            self._run(callbacks)
        finally:
            self._socket.close()
            self._free.put(None)

    def _run(self, callbacks: Callbacks[T]) -> None:
        is_ready = False
        while True:
            with self._lock:
                waits = bool(self._in_flight)
            if self._closed and not waits:
                return
            with callbacks.watched() if waits else contextlib.nullcontext():
                message = self._next_message()
            if isinstance(message, protocol.Ready) and not is_ready:
                is_ready = True
                callbacks.ready()
            elif isinstance(message, protocol.Done):
                for slot in message.slots:
                    self._deliver(slot, message.anchors, callbacks)

    def _deliver(self, slot: int, anchors: int, callbacks: Callbacks[T]) -> None:
        persons = self._select(self._slots.prediction(slot, anchors))
        with self._lock:
            item = self._in_flight.pop(slot)
        self._free.put(slot)
        callbacks.deliver(item, persons)

    def _next_message(self) -> protocol.Message | None:
        """The next message; None if there are photos in flight now, and were none before, or if `close` was called.

        Raises what a FAULT says, and EngineGone.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._socket.fileno() not in ready:
            return None
        with self._connected():
            message = self._receive()
        if message is None or self._fault:
            raise self._failure()
        return message

    def _receive(self) -> protocol.Message | None:
        with self._receiving:
            message = protocol.receive(self._socket)
            if isinstance(message, protocol.Fault):
                self._fault = message
            return message

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (OSError, protocol.ProtocolError):
            self._hear_last_words()
            raise self._failure() from None

    def _hear_last_words(self) -> None:
        """Reads what the process has said before it ended: maybe why."""
        for _ in range(2):  # that it has ended is told once, and before what it has said
            with contextlib.suppress(AttributeError, OSError, protocol.ProtocolError):
                self._socket.setblocking(False)
                while self._receive():
                    pass

    def _failure(self) -> MachineError:
        """Why there will be no answers: the fault that the process has named, to whichever thread, or that it is
        gone."""
        if self._fault:
            return (GPUUnusable if self._fault.kind == "unusable" else MachineError)(self._fault.sentence)
        return EngineGone(f"the engine process of {self._address.gpu.uuid} has ended; see {self._address.log}")
