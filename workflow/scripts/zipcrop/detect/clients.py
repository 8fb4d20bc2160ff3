"""The clients of an engine process: their connections, and the photos that they have sent. Both threads of the process
use them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zipcrop.detect import protocol

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.detect.slots import Slots


@dataclass(eq=False)
class Client:
    """A connection."""

    connection: socket.socket
    slots: Slots | None = None
    """None until it has said HELLO, and of a job."""
    has_introduced_itself: bool = False
    busy: set[int] = field(default_factory=set)
    """Slots that it has sent and not got back."""


@dataclass(frozen=True)
class Photo:
    """A letterboxed photo in a slot."""

    client: Client
    slot: int
    shape: tuple[int, int]
    """Height and width of the letterbox, pixels."""
    slots: Slots
    """The client's, which stay mapped as long as a batch needs them, even if the client is gone."""

    @property
    def pixels(self) -> np.ndarray:
        """The photo, uint8 (*shape, 3) BGR; a view. Raises ValueError if there is no such slot."""
        return self.slots.pixels(self.slot, *self.shape)


class Clients:
    """All clients that are connected."""

    def __init__(self) -> None:
        self._all: set[Client] = set()
        self._lock = threading.Lock()
        self._news: protocol.Ready | protocol.Fault | None = None
        """What all have been told, and new ones will be."""

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: socket.socket) -> Client:
        """The client at the other end of `connection`, which was just accepted."""
        connection.setblocking(False)
        # Room for everything that a client may wait for, even if it reads nothing.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * protocol.MOST_SLOTS * 1024)
        client = Client(connection)
        with self._lock:
            self._all.add(client)
            if isinstance(self._news, protocol.Fault):
                self._send(client, self._news)
        return client

    def welcome(self, client: Client) -> None:
        """Notes that a client has introduced itself."""
        with self._lock:
            client.has_introduced_itself = True  # and not before: `tell` would send what is sent again here
            if isinstance(self._news, protocol.Ready):  # a fault it has been told already
                self._send(client, self._news)

    def refuse(self, client: Client, fault: protocol.Fault) -> None:
        """Tells a client why it cannot be served."""
        with self._lock:
            self._send(client, fault)

    def begin(self, photo: Photo) -> None:
        """Notes that a photo is waiting in its slot. Raises ProtocolError if another one is there."""
        with self._lock:
            if photo.slot in photo.client.busy:
                raise protocol.ProtocolError("a slot that is in use")
            photo.client.busy.add(photo.slot)

    def remove(self, client: Client) -> None:
        """Closes a connection."""
        with self._lock:
            self._all.discard(client)
            client.connection.close()
        client.slots = None  # but for photos that are at the network

    def tell(self, news: protocol.Ready | protocol.Fault) -> None:
        """Tells all clients, and those that will come: a fault at once, others when they have introduced themselves."""
        with self._lock:
            self._news = news
            for client in self._all:
                if client.has_introduced_itself or isinstance(news, protocol.Fault):
                    self._send(client, news)

    def answer(self, photos: Sequence[Photo], predictions: np.ndarray) -> None:
        """Gives the `predictions` for `photos`, float32 (N, 5, anchors), back to their clients."""
        slots: dict[Client, list[int]] = {}
        for photo, prediction in zip(photos, predictions, strict=True):
            photo.slots.prediction(photo.slot, prediction.shape[1])[:] = prediction
            slots.setdefault(photo.client, []).append(photo.slot)
        with self._lock:
            for client, done in slots.items():
                client.busy.difference_update(done)
                self._send(client, protocol.Done(predictions.shape[2], done))

    def _send(self, client: Client, message: protocol.Message) -> None:
        """Sends a message; the lock is held."""
        if client not in self._all:
            return
        try:
            protocol.send(client.connection, message)
        except OSError:  # it is gone, or does not read what it is sent
            with contextlib.suppress(OSError):
                client.connection.shutdown(socket.SHUT_RDWR)  # the thread that listens sees that
