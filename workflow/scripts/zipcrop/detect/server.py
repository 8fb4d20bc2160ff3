"""The engine process of a GPU: takes photos from the workers of all jobs of a run, and gives their predictions back.

One thread accepts connections and reads messages; another one infers, since all calls of CUDA are to come from one. The
process ends with its run, when nobody has been connected for a while, and after a fault of the GPU.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import selectors
import signal
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from zipcrop.detect import lease, protocol
from zipcrop.detect.buckets import Buckets
from zipcrop.detect.clients import Client, Clients, Photo
from zipcrop.detect.model import Model
from zipcrop.detect.slots import Slots, slot_bytes
from zipcrop.errors import ModelError, OutOfGPUMemory, ZipcropError, one_line
from zipcrop.process import gpu, lock
from zipcrop.terminal import say

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.detect.lease import Spec, Start

_INTERVAL = 1.0
"""Seconds between looks at the run's owner."""
_IDLE = 30.0
"""Seconds without any connection after which the process ends."""
_FAREWELL = 10.0
"""Seconds for which a process whose network cannot be loaded still says so: to workers that are being started."""


class Network(Protocol):
    """What the server asks of a network; see `network.Network`."""

    batch: int

    def start(self, photos: Sequence[np.ndarray]) -> Any:
        """See `network.Network.start`."""
        ...

    def finish(self, batch: Any) -> np.ndarray:
        """See `network.Network.finish`."""
        ...


def main(text: str) -> None:
    """The whole life of an engine process, for the arguments that `lease.Start` has written as `text`."""
    start = lease.Start.parse(text)
    os.environ.update(gpu.environment(start.gpu))  # before CUDA is there
    engine = os.fdopen(start.engine, "a+", encoding="utf-8")
    lock.name_holder(engine)
    faulthandler.enable()  # tells where it was when a driver crashed
    _log(f"starts for {start.gpu.uuid}, in process {os.getpid()}")
    listening = socket.socket(fileno=start.listening)
    try:
        Server(listening, start, lambda: load_network(start.spec)).run()
    except BaseException:
        # Without the thread that listens, clients would wait for ever.
        traceback.print_exc()
        os._exit(1)


def load_network(spec: Spec) -> Network:
    """The network of an engine process, which has worked once. Raises ZipcropError; torch may raise anything."""
    from zipcrop.detect import network

    model = Model.read(spec.model)
    if model.identity != spec.identity:
        raise ModelError("the model was prepared anew while the run used it; run again")
    loaded = network.load(model, spec.image_size, spec.batch)
    network.try_out(loaded, model.stride)
    return loaded


class Server:
    """The process."""

    def __init__(self, listening: socket.socket, start: Start, load: Callable[[], Network]) -> None:
        """Serves those who connect to `listening` with the network that `load` gives, as `start` has it. This process
        holds the lease of the GPU."""
        self._listening = listening
        self._spec = start.spec
        self._gpu = start.gpu
        self._run = start.run
        self._leases = gpu.Leases(start.leases)
        self._log_path = start.log
        self._load = load
        self._waiting: Buckets[Photo] = Buckets()
        self._clients = Clients()
        self._is_ready = False
        self._selector = selectors.DefaultSelector()
        self._counts: Counter[str] = Counter()

    def run(self) -> NoReturn:
        """Serves until it is time to end the process, and does so."""
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        told_to_end = threading.Event()
        signal.signal(signal.SIGTERM, lambda number, frame: told_to_end.set())
        threading.Thread(target=self._guard, daemon=True).start()
        looked = used = time.monotonic()
        while True:
            for key, _ in self._selector.select(_INTERVAL):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            now = time.monotonic()
            if self._clients:
                used = now
            if now - looked >= _INTERVAL:
                looked = now
                if told_to_end.is_set():
                    self._end("it was told to")
                if not self._run.owner.is_alive():
                    self._end("its run has ended")
                if now - used >= _IDLE:
                    self._end_if_idle()

    # -- The thread that listens --------------------------------------------------------------------------------------
    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # nobody is there, or there are too many files
            connection, _ = self._listening.accept()
            self._selector.register(connection, selectors.EVENT_READ, self._clients.add(connection))

    def _read(self, client: Client) -> None:
        try:
            if not client.has_introduced_itself:
                self._greet(client)
                return
            message = protocol.receive(client.connection)
            if isinstance(message, protocol.Photo) and client.slots:
                self._take(client, message, client.slots)
            elif message is None:
                self._drop(client)
            else:
                raise protocol.ProtocolError("a message that is not its turn")
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
        except (protocol.ProtocolError, ValueError) as error:
            why = f"the engine process cannot take what a worker has sent: {error}"
            self._clients.refuse(client, protocol.Fault(f"{why}; please report this bug"))
            self._drop(client, why)

    def _greet(self, client: Client) -> None:
        hello, descriptors = protocol.receive_hello(client.connection)
        try:
            if hello is None:
                self._drop(client)
                return
            if not isinstance(hello, protocol.Hello) or len(descriptors) != bool(hello.slots):
                raise protocol.ProtocolError("no HELLO")
            wanted = self._spec.hello(hello.slots, hello.slot_bytes)
            if (hello.protocol, hello.model, hello.image_size, hello.batch) != (
                wanted.protocol,
                wanted.model,
                wanted.image_size,
                wanted.batch,
            ):
                fault = "the engine process was started for other weights or settings; run again"
                self._clients.refuse(client, protocol.Fault(fault))
                raise protocol.ProtocolError("another model")
            if hello.slots:
                if hello.slot_bytes < slot_bytes(self._spec.image_size):
                    raise protocol.ProtocolError("small slots")
                client.slots = Slots(descriptors[0], hello.slots, hello.slot_bytes)
        finally:
            protocol.close_all(descriptors)
        self._counts["workers" if hello.slots else "jobs"] += 1
        self._clients.welcome(client)

    def _take(self, client: Client, photo: protocol.Photo, slots: Slots) -> None:
        sides = (photo.height, photo.width)
        if not all(0 < side <= self._spec.image_size and side % self._spec.stride == 0 for side in sides):
            raise protocol.ProtocolError("an odd size of a photo")
        item = Photo(client, photo.slot, sides, slots)
        _ = item.pixels  # raises ValueError if there is no such slot
        self._clients.begin(item)
        self._waiting.put(item)

    def _drop(self, client: Client, why: str = "") -> None:
        """Closes a connection, and forgets the photos of the client that have not been inferred."""
        if why:
            _log(why)
        self._selector.unregister(client.connection)
        self._clients.remove(client)
        self._waiting.drop(lambda photo: photo.client is client)

    def _end_if_idle(self) -> None:
        # A job has the turn when it connects. So nobody can come between the last look and the end. This process does
        # not wait for its turn: whoever has it may be waiting for its end.
        with contextlib.suppress(lock.LockedError), self._leases.turn(wait=False):
            self._accept()
            if not self._clients:
                self._end("nobody needs it")

    def _end(self, why: str) -> NoReturn:
        counts = ", ".join(f"{count} {name}" for name, count in list(self._counts.items()))
        _log(f"ends, since {why}; it had {counts or 'nothing to do'}")
        with contextlib.suppress(OSError):
            self._leases.sweep()
        self._leave(0)

    def _leave(self, status: int) -> NoReturn:
        # The lease of this process ends last: until then nobody else listens there.
        with contextlib.suppress(OSError):
            self._leases.socket(self._gpu, self._run).unlink(missing_ok=True)
        # Not in an orderly way, which would wait for the thread that infers.
        os._exit(status)

    # -- The thread that infers ---------------------------------------------------------------------------------------
    def _guard(self) -> None:
        """Loads and infers. What that raises is told to all clients, and ends the process: at once, or a little later
        if no network was loaded, which would not be otherwise with another process."""
        try:
            self._infer()
        except ZipcropError as error:
            fault = protocol.Fault(str(error))
        except BaseException as error:  # torch may raise anything, and nothing would be inferred any more
            traceback.print_exc()
            fault = self._unforeseen(error)
        _log(f"ends: {fault.sentence}")
        self._clients.tell(fault)
        if not self._is_ready:
            time.sleep(_FAREWELL)
        self._leave(1)

    def _unforeseen(self, error: BaseException) -> protocol.Fault:
        what = f"{type(error).__name__}: {one_line(str(error))}; details are in {self._log_path}"
        if not self._is_ready:
            return protocol.Fault(f"{self._gpu.uuid} cannot be used ({what})", "unusable")
        return protocol.Fault(f"{self._gpu.uuid} has failed ({what}); see that it works, or set device: cpu")

    def _infer(self) -> NoReturn:
        started = time.monotonic()
        network = self._load()
        _log(f"ready after {time.monotonic() - started:.1f} s")
        self._is_ready = True
        with contextlib.suppress(OSError):
            self._leases.mark_working(self._gpu, self._run)
        self._clients.tell(protocol.Ready(self._gpu.uuid))
        pending: tuple[Sequence[Photo], Any] | None = None
        todo: list[Photo] = []
        while True:
            # While the GPU is at a batch, only a whole one is worth queueing behind it.
            todo = todo or (self._waiting.take_full if pending else self._waiting.take)(network.batch)
            following = _start(network, todo)
            if following:
                todo = todo[len(following[0]) :]
            if pending:
                self._clients.answer(pending[0], network.finish(pending[1]))
                self._counts["photos"] += len(pending[0])
                self._counts["batches"] += 1
            # From here on nothing refers to photos that were answered, nor keeps the slots of clients that are gone.
            pending = following


def _start(network: Network, photos: Sequence[Photo]) -> tuple[Sequence[Photo], Any] | None:
    """Gives the network the first of `photos`, as many as it takes: these, and what to finish. None if there are none,
    or too little memory; then the same photos can be given again, from their slots, in smaller batches."""
    part = photos[: network.batch]
    with contextlib.suppress(OutOfGPUMemory):
        if part:
            return part, network.start([photo.pixels for photo in part])
    return None


def _log(line: str) -> None:
    """Writes a line to the log of the process."""
    with contextlib.suppress(OSError):  # a full disk
        say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")
