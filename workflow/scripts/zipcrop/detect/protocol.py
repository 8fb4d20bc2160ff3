"""What workers and the engine process of a GPU say to each other, over a Unix socket that keeps messages whole.

A connection begins with the client's HELLO, to which a worker adds the descriptor of its `Slots`; a job has none, and
only keeps the engine process alive. The process answers READY once its network is loaded. PHOTOs may be sent before.

Nothing here imports NumPy or torch, since jobs wait for it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

VERSION = 1
_MOST_BYTES = 65536
_PHOTO = struct.Struct("<III")

MOST_SLOTS = 256
"""Of a client. What is sent back for so many fits into a socket's buffer even if the client reads nothing."""


class ProtocolError(Exception):
    """The other side does not speak this protocol."""


@dataclass(frozen=True)
class Hello:
    """Who the client is, and what it needs. Of a job, `slots` is 0."""

    model: str
    """`Model.identity`."""
    image_size: int
    batch: int
    slots: int
    slot_bytes: int
    pid: int
    protocol: int = VERSION


@dataclass(frozen=True)
class Photo:
    """A letterboxed photo lies at the start of `slot`: uint8 (height, width, 3) BGR."""

    slot: int
    height: int
    width: int


@dataclass(frozen=True)
class Ready:
    """The network is loaded, and has worked."""

    gpu: str
    """Its UUID."""


@dataclass(frozen=True)
class Done:
    """At the start of each of `slots` there is now what the network says of its photo: float32 (5, anchors), see
    `network.Detector`."""

    anchors: int
    slots: Sequence[int]


@dataclass(frozen=True)
class Fault:
    """A fault of the machine: the job stops with that sentence."""

    sentence: str
    kind: Literal["machine", "unusable"] = "machine"
    """`unusable` if the GPU cannot be used at all; the CPU may."""


Message: TypeAlias = Hello | Photo | Ready | Done | Fault
_IN_JSON: dict[bytes, type[Hello] | type[Ready] | type[Fault]] = {b"H": Hello, b"R": Ready, b"F": Fault}

_NUMBERS = frozenset(("image_size", "batch", "slots", "slot_bytes", "pid", "protocol"))
"""The fields in JSON that are whole numbers; the others are texts."""


def encode(message: Message) -> bytes:
    """The message as bytes."""
    if isinstance(message, Photo):
        return b"P" + _PHOTO.pack(message.slot, message.height, message.width)
    if isinstance(message, Done):
        return b"D" + array("I", [message.anchors, *message.slots]).tobytes()
    letter = next(letter for letter, kind in _IN_JSON.items() if isinstance(message, kind))
    return letter + json.dumps(dataclasses.asdict(message)).encode()


def decode(data: bytes) -> Message:
    """The message in `data`. Raises ProtocolError."""
    letter, content = data[:1], data[1:]
    try:
        if letter == b"P":
            return Photo(*_PHOTO.unpack(content))
        if letter == b"D":
            numbers = array("I", content)
            return Done(numbers[0], numbers[1:].tolist())
        message = _IN_JSON[letter](**json.loads(content))
        if not all(type(value) is (int if name in _NUMBERS else str) for name, value in vars(message).items()):
            raise TypeError
        return message
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, struct.error):
        raise ProtocolError(f"an odd message of {len(data)} bytes") from None


def send(connection: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Sends the message, with a descriptor if one is given. Raises OSError."""
    socket.send_fds(connection, [encode(message)], [] if descriptor is None else [descriptor])


def receive(connection: socket.socket) -> Message | None:
    """The next message; None where the other side has closed the connection. Raises ProtocolError, OSError."""
    data = connection.recv(_MOST_BYTES)
    return decode(data) if data else None


def receive_hello(connection: socket.socket) -> tuple[Message | None, list[int]]:
    """As `receive`, and the descriptors that came along, which are the caller's to close."""
    data, descriptors, _, _ = socket.recv_fds(connection, _MOST_BYTES, 4)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # recv_fds ignores MSG_CMSG_CLOEXEC, as all flags (Python 3.11)
    try:
        return (decode(data) if data else None), descriptors
    except ProtocolError:
        close_all(descriptors)
        raise


def close_all(descriptors: Sequence[int]) -> None:
    """Closes all of them."""
    for descriptor in descriptors:
        socket.close(descriptor)
