from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.files import open_files
from zipcrop.detect import protocol
from zipcrop.detect.protocol import Done, Fault, Hello, Message, Photo, ProtocolError, Ready

HELLO = Hello("0123abcd", 640, 16, 64, 4096, 4711)
MESSAGES: list[Message] = [
    HELLO,
    Hello("", 32, 1, 0, 0, 1, protocol=7),
    Photo(0, 32, 640),
    Photo(255, 2**32 - 1, 0),
    Ready("GPU-1234"),
    Done(8400, [3]),
    Done(1, list(range(protocol.MOST_SLOTS))),
    Done(0, []),
    Fault("the GPU has no memory left; end other programs"),
    Fault("Größe 文 \udcff \x00", "unusable"),
]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a connection."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message, pair: Pair) -> None:
    one, other = pair
    assert protocol.decode(protocol.encode(message)) == message
    for _ in range(2):
        protocol.send(one, message)
    assert [protocol.receive(other), protocol.receive(other)] == [message, message]
    with pytest.raises(BlockingIOError):
        protocol.receive(other)
    one.close()
    assert protocol.receive(other) is None


def test_what_all_slots_are_sent_one_by_one_waits_for_a_client_that_does_not_read(pair: Pair) -> None:
    one, other = pair
    for slot in range(protocol.MOST_SLOTS):
        protocol.send(one, Done(8400, [slot]))
    assert [protocol.receive(other) for _ in range(protocol.MOST_SLOTS)] == [
        Done(8400, [slot]) for slot in range(protocol.MOST_SLOTS)
    ]


def test_descriptors_come_with_hello_and_go_with_other_messages(pair: Pair) -> None:
    one, other = pair
    before = open_files()
    reading, writing = os.pipe()
    protocol.send(one, HELLO, writing)
    protocol.send(one, Photo(1, 32, 32), writing)
    message, (descriptor,) = protocol.receive_hello(other)
    assert message == HELLO
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"through it")
    assert os.read(reading, 100) == b"through it"
    assert protocol.receive(other) == Photo(1, 32, 32)
    protocol.close_all([descriptor, reading, writing])
    assert open_files() == before


def test_descriptors_of_an_odd_message_are_closed(pair: Pair) -> None:
    one, other = pair
    before = open_files()
    for data in (b"H{}", b"?", b"P123"):
        socket.send_fds(one, [data], [0, 1, 2])
        with pytest.raises(ProtocolError):
            protocol.receive_hello(other)
    assert open_files() == before


def changed(**values: object) -> bytes:
    fields = {**json.loads(protocol.encode(HELLO)[1:]), **values}
    return b"H" + json.dumps(fields).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"?",
        b"P",
        b"P" + bytes(11),
        b"P" + bytes(13),
        b"D",
        b"D" + bytes(6),
        b"H",
        b"H{}",
        b"Hnull",
        b"H[1, 2, 3, 4, 5, 6, 7]",
        b"R" + b"[" * 60_000,
        b'R"gpu"',
        b'R{"gpu": 5}',
        b'R{"gpu": null}',
        b'R{"gpu": "a", "more": 1}',
        b"F\xff\xfe",
        b'F{"sentence": ["a"]}',
        b'F{"sentence": "a", "kind": 1}',
        b'R{"gpu": 1' + b"0" * 9000 + b"}",
        *(changed(slots=value) for value in ("1", 1.5, None, [1], True, float("nan"))),
        changed(model=1),
        changed(slot_bytes=4096.0),
        changed(pid={}),
        changed(future=1),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_an_odd_message_is_refused(data: bytes, pair: Pair) -> None:
    with pytest.raises(ProtocolError, match="an odd message"):
        protocol.decode(data)
    one, other = pair
    one.send(data)
    with pytest.raises(ProtocolError):
        protocol.receive(other)


@given(
    st.one_of(st.binary(), st.builds(lambda a, b: a + b, st.sampled_from([b"P", b"D", b"H", b"R", b"F"]), st.binary()))
)
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = protocol.decode(data)
    except ProtocolError:
        return
    assert protocol.decode(protocol.encode(message)) == message


def test_a_message_with_some_bytes_changed_is_a_message_or_refused() -> None:
    chance = random.Random(0)
    refused = 0
    for _ in range(3000):
        data = bytearray(protocol.encode(chance.choice(MESSAGES)))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            message = protocol.decode(bytes(data))
        except ProtocolError:
            refused += 1
        else:
            assert isinstance(message, Hello | Photo | Ready | Done | Fault)
    assert 0 < refused < 3000
