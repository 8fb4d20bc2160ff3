"""Engine processes without a GPU, and clients that speak to them message by message."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import formula
from helpers.environment import patched_everywhere
from helpers.project import ROOT
from zipcrop.detect import lease, protocol, slots
from zipcrop.detect.lease import Address, Spec, Start
from zipcrop.process.gpu import GPU, Leases, Run
from zipcrop.process.orphan import ProcessId

SPEC = Spec(Path("model.json"), "0123abcd", image_size=64, stride=32, batch=4)
DEVICE = GPU("0", "GPU-1234")
INSTALL = """
def patch(server):
    from helpers import formula
    formula.install(server)
"""


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's, unlike that of `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="zc", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def environment(folder: Path, options: dict[str, Any], patch: str = INSTALL) -> dict[str, str]:
    """The variables with which an engine process has `formula` for its network; or another one, if `patch` is."""
    patched = patched_everywhere(folder, "zipcrop.detect.server", patch)["PYTHONPATH"]
    path = os.pathsep.join([patched, str(ROOT / "tests")])
    return {"PYTHONPATH": path, formula.OPTIONS: json.dumps(options)}


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Waits until something is so, and fails if that takes far too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass(frozen=True)
class EngineProcess:
    """An engine process that a test has started."""

    process: subprocess.Popen[bytes]
    address: Address

    @property
    def log(self) -> str:
        """What it has said."""
        return self.address.log.read_text()

    @property
    def is_served(self) -> bool:
        """Whether there is a socket's file."""
        return self.address.path.exists()

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(
    folder: Path, owner: int | None = None, spec: Spec = SPEC, patch: str = INSTALL, **options: Any
) -> Iterator[EngineProcess]:
    """An engine process for the run of the process `owner`, else of this one, with leases in the short `folder`. The
    options are those of `formula`. It is killed at the end of the `with` block."""
    owning = ProcessId.of(owner or os.getpid())
    assert owning is not None
    run, leases = Run(owning, spec.digest), Leases(folder / "leases")
    log = folder / "engine.log"
    with leases.turn(), lease.new_socket() as listening, leases.take_engine(DEVICE, run) as engine:
        address = Address(DEVICE, leases.socket(DEVICE, run), log, spec)
        listening.bind(str(address.path))
        listening.listen(16)
        start = Start(DEVICE, run, spec, leases.folder, log, listening.fileno(), engine.fileno())
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(lease.SCRIPT), str(start)],
                env={**os.environ, **environment(folder / "patch", options, patch)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(listening.fileno(), engine.fileno()),
            )
    try:
        yield EngineProcess(process, address)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


class Client:
    """A client that says what it likes."""

    def __init__(self, address: Address, count: int = 8) -> None:
        """Connects to `address`, and makes `count` slots."""
        self.address = address
        self.connection = address.connect()
        self.connection.settimeout(30)
        self.count = count
        self.size = slots.slot_bytes(address.spec.image_size)
        self.slots, self.descriptor = slots.create(count, self.size)

    def hello(self) -> Client:
        """Introduces itself properly."""
        protocol.send(self.connection, self.address.spec.hello(self.count, self.size), self.descriptor)
        return self

    def photo(self, slot: int, image: np.ndarray) -> None:
        """Sends a photo."""
        height, width = image.shape[:2]
        self.slots.pixels(slot, height, width)[:] = image
        protocol.send(self.connection, protocol.Photo(slot, height, width))

    def wait_until_read(self) -> None:
        """Waits until the other side has dealt with all that was sent. Its network has to be loaded."""
        wait_until(lambda: fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4)) == bytes(4))
        with Client(self.address) as later:  # one thread takes all messages, one after the other
            protocol.send(later.connection, self.address.spec.hello())
            assert isinstance(later.receive(), protocol.Ready)

    def receive(self) -> protocol.Message | None:
        """The next message; None at the end, also where the other side has not read everything."""
        try:
            return protocol.receive(self.connection)
        except ConnectionResetError:
            return self.receive()

    def answers(self, count: int) -> dict[int, np.ndarray]:
        """The next `count` predictions, by slot."""
        found: dict[int, np.ndarray] = {}
        while len(found) < count:
            message = self.receive()
            assert message is not None
            if isinstance(message, protocol.Done):
                for slot in message.slots:
                    assert slot not in found
                    found[slot] = self.slots.prediction(slot, message.anchors).copy()
            else:
                assert isinstance(message, protocol.Ready), message
        return found

    def is_dropped(self) -> bool:
        """Whether the connection ends, after any READY and a FAULT."""
        message = self.receive()
        while isinstance(message, protocol.Ready | protocol.Fault):
            message = self.receive()
        return message is None

    def close(self) -> None:
        self.connection.close()
        os.close(self.descriptor)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def noise(seed: int, height: int = 32, width: int = 64) -> np.ndarray:
    """A photo, other than `formula.POISON`."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0, 0] = 7
    return image
