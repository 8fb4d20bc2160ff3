"""Real engine processes, whose network is a formula."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import formula
from helpers.effort import time_limit
from helpers.engine_process import SPEC, Client, EngineProcess, noise, serving, wait_until
from helpers.files import open_files
from helpers.formula import answer
from helpers.project import ROOT, SCRIPTS
from zipcrop.detect import protocol
from zipcrop.detect.protocol import Fault, Hello, Photo, Ready
from zipcrop.process import lock
from zipcrop.process.gpu import Leases


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with time_limit(120):
        yield


def assert_works(engine: EngineProcess, seed: int = 0) -> None:
    """Another client is served as it should be."""
    with Client(engine.address).hello() as client:
        for slot in range(6):
            client.photo(slot, noise(seed + slot))
        for slot, found in client.answers(6).items():
            np.testing.assert_array_equal(found, answer(noise(seed + slot)))


def batches(folder: Path) -> list[list[int]]:
    path = folder / "batches"
    return [list(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


def test_several_clients_get_their_own_answers_again_and_again(engine: EngineProcess) -> None:
    shapes = [(32, 64), (64, 32), (64, 64), (32, 32)]
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(Client(engine.address).hello()) for _ in range(3)]
        for turn in range(5):
            photos = {
                (who, slot): noise(1000 * turn + 10 * who + slot, *shapes[(who + slot + turn) % 4])
                for who in range(3)
                for slot in range(8)
            }
            for (who, slot), image in photos.items():
                clients[who].photo(slot, image)
            for who, client in enumerate(clients):
                for slot, found in client.answers(8).items():
                    np.testing.assert_array_equal(found, answer(photos[who, slot]))


def test_photos_may_come_before_the_network_is_loaded(folder: Path) -> None:
    with serving(folder, loaded=str(folder / "loaded")) as engine, Client(engine.address).hello() as client:
        client.photo(2, noise(1))
        client.connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.receive()
        client.connection.settimeout(30)
        (folder / "loaded").touch()
        assert client.receive() == Ready("GPU-1234")
        np.testing.assert_array_equal(client.answers(1)[2], answer(noise(1)))
        with Client(engine.address).hello() as late:
            assert late.receive() == Ready("GPU-1234")


# -- Clients that are wrong ---------------------------------------------------------------------------------------


def hello(client: Client, **changes: Any) -> bytes:
    values = {**vars(SPEC.hello(client.count, client.size)), **changes}
    return protocol.encode(Hello(**values))


def send(data: Callable[[Client], bytes], descriptors: int = 1) -> Callable[[Client], None]:
    return lambda client: void(socket.send_fds(client.connection, [data(client)], [client.descriptor] * descriptors))


def void(_: object) -> None:
    pass


def with_memfd(size: int, seals: int = fcntl.F_SEAL_SHRINK) -> Callable[[Client], None]:
    def say_hello(client: Client) -> None:
        descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        socket.send_fds(client.connection, [hello(client)], [descriptor])
        os.close(descriptor)

    return say_hello


def with_a_pipe(client: Client) -> None:
    reading, writing = os.pipe()
    socket.send_fds(client.connection, [hello(client)], [writing])
    protocol.close_all([reading, writing])


ODD_GREETINGS: dict[str, Callable[[Client], None]] = {
    "no memfd": send(hello, descriptors=0),
    "two descriptors": send(hello, descriptors=2),
    "many descriptors": send(hello, descriptors=100),
    "a job with a descriptor": send(lambda client: hello(client, slots=0)),
    "a small memfd": with_memfd(4096),
    "an unsealed memfd": with_memfd(1 << 20, fcntl.F_SEAL_GROW),
    "a memfd that cannot be written": with_memfd(1 << 20, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE),
    "a pipe": with_a_pipe,
    "small slots": send(lambda client: hello(client, slot_bytes=4096)),
    "no bytes in slots": send(lambda client: hello(client, slot_bytes=0)),
    "too many slots": send(lambda client: hello(client, slots=257)),
    "negative slots": send(lambda client: hello(client, slots=-1)),
    "slots in words": send(lambda client: hello(client, slots="eight")),
    "half a slot": send(lambda client: hello(client, slots=0.5)),
    "garbage": send(lambda client: b"\xff" * 1000),
    "garbage in JSON": send(lambda client: b'H{"model": 5}'),
    "another message": send(lambda client: protocol.encode(Ready("GPU"))),
    "a photo": send(lambda client: protocol.encode(Photo(0, 32, 32)), descriptors=0),
}


@pytest.mark.parametrize("say_hello", ODD_GREETINGS.values(), ids=ODD_GREETINGS)
def test_a_client_with_an_odd_hello_is_dropped_and_others_are_served(
    say_hello: Callable[[Client], None], engine: EngineProcess
) -> None:
    with Client(engine.address) as client:
        say_hello(client)
        assert client.is_dropped()
    assert_works(engine)


@pytest.mark.parametrize(
    "changes",
    [{"model": "another"}, {"protocol": 2}, {"image_size": 128}, {"batch": 5}],
    ids=lambda each: next(iter(each)),
)
def test_a_client_with_another_model_is_told_so_and_dropped(changes: dict[str, Any], engine: EngineProcess) -> None:
    with Client(engine.address) as client:
        send(lambda each: hello(each, **changes))(client)
        message = client.receive()
        assert message == Fault("the engine process was started for other weights or settings; run again")
        assert client.is_dropped()
    assert_works(engine)


def photos(*messages: Photo) -> Callable[[Client], None]:
    def say(client: Client) -> None:
        for message in messages:
            protocol.send(client.connection, message)

    return say


ODD_PHOTOS: dict[str, Callable[[Client], None]] = {
    "a slot that is not there": photos(Photo(8, 32, 32)),
    "a slot far away": photos(Photo(2**32 - 1, 32, 32)),
    "no multiple of the stride": photos(Photo(0, 32, 33)),
    "no height": photos(Photo(0, 0, 32)),
    "too wide": photos(Photo(0, 32, 96)),
    "too high": photos(Photo(0, 2**31, 32)),
    "HELLO again": send(hello),
    "garbage": send(lambda client: b"P123", descriptors=0),
    "another message": send(lambda client: protocol.encode(Ready("GPU")), descriptors=3),
}


@pytest.mark.parametrize("say", ODD_PHOTOS.values(), ids=ODD_PHOTOS)
def test_a_client_with_an_odd_photo_is_dropped_and_others_are_served(
    say: Callable[[Client], None], engine: EngineProcess
) -> None:
    with Client(engine.address).hello() as client:
        say(client)
        assert client.is_dropped()
    assert_works(engine)


def test_a_slot_that_is_in_use_is_refused_and_may_be_used_again_later(folder: Path) -> None:
    with (
        serving(folder, gate=str(folder / "gate")) as engine,
        Client(engine.address).hello() as wrong,
        Client(engine.address).hello() as right,
    ):
        wrong.photo(1, noise(1))
        wrong.photo(1, noise(2))
        assert wrong.is_dropped()
        (folder / "gate").touch()
        for seed in range(3):
            right.photo(1, noise(seed))
            np.testing.assert_array_equal(right.answers(1)[1], answer(noise(seed)))


def test_a_job_that_sends_photos_is_dropped(engine: EngineProcess) -> None:
    with Client(engine.address) as client:
        protocol.send(client.connection, SPEC.hello())
        assert client.receive() == Ready("GPU-1234")
        protocol.send(client.connection, Photo(0, 32, 32))
        assert client.is_dropped()
    assert_works(engine)


# -- Clients that die or stop -------------------------------------------------------------------------------------

SENDING = """
import sys, time
from pathlib import Path
from helpers.engine_process import DEVICE, SPEC, Client, noise
from zipcrop.detect.lease import Address
client = Client(Address(DEVICE, Path(sys.argv[1]), Path("log"), SPEC)).hello()
for slot in range(8):
    client.photo(slot, noise(slot))
print("sent", flush=True)
time.sleep(0.2)
answers = client.answers(8)
print(*sorted(answers), flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def sending(engine: EngineProcess) -> Iterator[subprocess.Popen[str]]:
    """A process that has sent eight photos."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS), str(ROOT / "tests")])}
    command = [sys.executable, "-c", SENDING, str(engine.address.path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "sent\n"
            yield process
        finally:
            process.kill()


def test_of_a_client_that_is_killed_no_more_photos_are_inferred_and_others_get_theirs(folder: Path) -> None:
    with (
        serving(folder, gate=str(folder / "gate"), batches=str(folder / "batches")) as engine,
        Client(engine.address).hello() as other,
        sending(engine) as process,
    ):
        wait_until(lambda: batches(folder))
        before = settled(engine, slots=2)
        process.kill()
        wait_until(lambda: open_files(engine.process.pid) < before)
        for slot in range(3):
            other.photo(slot, noise(slot, 64, 64))
        other.wait_until_read()
        (folder / "gate").touch()
        for slot, found in other.answers(3).items():
            np.testing.assert_array_equal(found, answer(noise(slot, 64, 64)))
        # One batch was at the network already.
        assert [shape for _, *shape in batches(folder)] == [[32, 64], [64, 64]]


def test_a_client_that_is_stopped_does_not_hold_up_others(folder: Path) -> None:
    with serving(folder, gate=str(folder / "gate")) as engine, sending(engine) as process:
        process.send_signal(signal.SIGSTOP)
        (folder / "gate").touch()
        for seed in range(3):
            assert_works(engine, seed)
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.readline() == "0 1 2 3 4 5 6 7\n"


def test_nothing_of_clients_that_are_gone_is_kept(engine: EngineProcess) -> None:
    assert_works(engine)
    before = settled(engine)
    for seed in range(5):
        assert_works(engine, seed)
        with Client(engine.address) as client:
            client.connection.send(b"garbage")
            assert client.is_dropped()
    assert settled(engine) == before
    assert "memfd" not in Path(f"/proc/{engine.process.pid}/maps").read_text()


def settled(engine: EngineProcess, slots: int = 0) -> int:
    """The number of open files of an engine process, once it has the slots of so many clients."""
    folder = Path(f"/proc/{engine.process.pid}/fd")

    def of_slots() -> int:
        found = 0
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # just closed
                found += "memfd" in str(path.readlink())
        return found

    wait_until(lambda: of_slots() == slots)
    return open_files(engine.process.pid)


# -- The order of photos ------------------------------------------------------------------------------------------


def test_the_fullest_batch_comes_first(folder: Path) -> None:
    with serving(folder, gate=str(folder / "gate"), batches=str(folder / "batches")) as engine:
        with Client(engine.address, count=16).hello() as client:
            client.photo(0, noise(0, 32, 32))
            wait_until(lambda: batches(folder))
            for slot, shape in enumerate([(64, 32), (64, 64), (64, 64), *[(32, 64)] * 5], start=1):
                client.photo(slot, noise(slot, *shape))
            client.wait_until_read()
            (folder / "gate").touch()
            client.answers(9)
        assert batches(folder) == [[1, 32, 32], [4, 32, 64], [2, 64, 64], [1, 64, 32], [1, 32, 64]]


def test_where_memory_is_short_each_photo_is_answered_once_and_rightly(folder: Path) -> None:
    with serving(folder, batch=8, room=2, gate=str(folder / "gate"), batches=str(folder / "batches")) as engine:
        with Client(engine.address, count=16).hello() as client:
            for slot in range(16):
                client.photo(slot, noise(slot))
            (folder / "gate").touch()
            for slot, found in client.answers(16).items():
                np.testing.assert_array_equal(found, answer(noise(slot)))
        sizes = [count for count, *_ in batches(folder)]
        assert sum(size for size in sizes if size <= 2) == 16


# -- Faults -------------------------------------------------------------------------------------------------------


def test_a_network_that_cannot_be_loaded_is_told_to_those_who_wait_and_to_the_late(folder: Path) -> None:
    with serving(folder, load="error", loaded=str(folder / "loaded"), farewell=3) as engine:
        with Client(engine.address).hello() as waiting, Client(engine.address) as silent:
            waiting.photo(0, noise(0))
            (folder / "loaded").touch()
            for client in (waiting, silent):
                fault = client.receive()
                assert isinstance(fault, Fault)
                assert fault.kind == "unusable"
                assert fault.sentence == (
                    "GPU-1234 cannot be used (AssertionError: Torch not compiled with CUDA enabled; "
                    f"details are in {engine.address.log})"
                )
            with Client(engine.address).hello() as late:
                assert late.receive() == fault
        assert engine.process.wait(timeout=30) == 1
        assert not engine.is_served
        assert "Traceback" in engine.log


def test_a_fault_of_the_model_is_told_as_it_is(folder: Path) -> None:
    with serving(folder, load="model") as engine, Client(engine.address).hello() as client:
        assert client.receive() == Fault("the weights are damaged; use others")
        assert engine.process.wait(timeout=30) == 1
        assert "Traceback" not in engine.log


def test_a_fault_while_it_infers_is_told_to_all_and_ends_the_process(folder: Path) -> None:
    with serving(folder) as engine:
        with Client(engine.address).hello() as one, Client(engine.address).hello() as other:
            assert one.receive() == other.receive() == Ready("GPU-1234")
            poison = noise(0)
            poison[0, 0, 0] = formula.POISON
            one.photo(0, poison)
            for client in (one, other):
                assert client.receive() == Fault(
                    "GPU-1234 has failed (RuntimeError: CUDA error: unspecified launch failure; details are in "
                    f"{engine.address.log}); see that it works, or set device: cpu"
                )
                assert client.receive() is None
        assert engine.process.wait(timeout=30) == 1
        assert not engine.is_served


# -- The end ------------------------------------------------------------------------------------------------------


def test_it_ends_when_nobody_has_been_connected_for_a_while(folder: Path) -> None:
    with serving(folder, idle=2) as engine:
        with Client(engine.address) as job:
            protocol.send(job.connection, SPEC.hello())
            assert job.receive() == Ready("GPU-1234")
            time.sleep(4)
            assert engine.process.poll() is None
            closing = time.monotonic()
        assert engine.process.wait(timeout=30) == 0
        assert time.monotonic() - closing > 0.5  # it looks once in a second
        assert not engine.is_served
        assert "nobody needs it" in engine.log


@pytest.mark.slow
def test_it_does_not_end_for_want_of_clients_while_a_job_has_the_turn(folder: Path) -> None:
    """That job may be about to connect."""
    with serving(folder, idle=0.5) as engine:
        with Leases(folder / "leases").turn():
            wait_until(lambda: "ready" in engine.log)
            time.sleep(3)
            assert engine.process.poll() is None
            client = Client(engine.address).hello()
        with client:
            client.photo(0, noise(0))
            np.testing.assert_array_equal(client.answers(1)[0], answer(noise(0)))


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_its_run_even_in_the_middle_of_work(folder: Path, busy: bool) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner:
        gate = str(folder / "gate") if busy else ""
        with serving(folder, owner=owner.pid, gate=gate) as engine, Client(engine.address).hello() as client:
            assert client.receive() == Ready("GPU-1234")
            client.photo(0, noise(0))
            owner.kill()
            if busy:  # also before anybody has asked for the owner's exit status
                assert engine.process.wait(timeout=10) == 0
            owner.wait()
            assert engine.process.wait(timeout=10) == 0
            assert not engine.is_served
            assert "its run has ended" in engine.log


def test_it_ends_when_it_is_told_to(folder: Path) -> None:
    with serving(folder) as engine, Client(engine.address).hello() as client:
        assert client.receive() == Ready("GPU-1234")
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(timeout=10) == 0
        assert client.receive() is None
        assert not engine.is_served
        assert "it was told to; it had 1 workers" in engine.log


def test_its_lease_lasts_as_long_as_it_does_and_names_it(folder: Path) -> None:
    with serving(folder) as engine:
        path = engine.address.path.with_suffix(".engine")
        wait_until(lambda: "ready" in engine.log)
        with pytest.raises(lock.LockedError) as held:
            lock.acquire(path)
        assert held.value.pid == engine.process.pid
        engine.kill()
        lock.acquire(path).close()
