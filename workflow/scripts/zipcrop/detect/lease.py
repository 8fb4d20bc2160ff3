"""A job's side of the engine processes: finds that of a GPU, or starts it, and keeps it for the job.

Nothing here imports NumPy or torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zipcrop.detect import protocol
from zipcrop.errors import MachineError
from zipcrop.process.gpu import GPU, Leases, Run
from zipcrop.process.orphan import ProcessId

if TYPE_CHECKING:
    from zipcrop.detect.model import Model

SCRIPT = Path(__file__).parents[2] / "serve_engine.py"
_BACKLOG = 256


@dataclass(frozen=True)
class Spec:
    """What an engine process infers with."""

    model: Path
    """JSON of the prepared model."""
    identity: str
    """`Model.identity`."""
    image_size: int
    stride: int
    batch: int

    @classmethod
    def of(cls, model: Model, image_size: int, batch: int) -> Spec:
        """That for a model which was read from a file."""
        assert model.path is not None
        return cls(model.path, model.identity, image_size, model.stride, batch)

    @property
    def digest(self) -> str:
        """Tells it apart from others."""
        values = [self.identity, self.image_size, self.batch]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]

    def hello(self, slots: int = 0, slot_bytes: int = 0) -> protocol.Hello:
        """How a client of this process introduces itself."""
        return protocol.Hello(self.identity, self.image_size, self.batch, slots, slot_bytes, os.getpid())


@dataclass(frozen=True)
class Address:
    """Where an engine process is, for workers."""

    gpu: GPU
    path: Path
    """Of its socket."""
    log: Path
    spec: Spec

    def connect(self) -> socket.socket:
        """A connection to it. Raises OSError if there is none."""
        connection = new_socket()
        try:
            connection.connect(str(self.path))
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass(frozen=True)
class Start:
    """What an engine process is started with."""

    gpu: GPU
    run: Run
    spec: Spec
    leases: Path
    """Folder of the leases."""
    log: Path
    listening: int
    """Descriptor of the socket that listens already."""
    engine: int
    """Descriptor of the file that is locked: the process's lease."""

    def __str__(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def parse(cls, text: str) -> Start:
        """The inverse of `str`."""
        values = json.loads(text)
        spec, run = values["spec"], values["run"]
        return cls(
            gpu=GPU(**values["gpu"]),
            run=Run(ProcessId(**run["owner"]), run["network"]),
            spec=Spec(**{**spec, "model": Path(spec["model"])}),
            leases=Path(values["leases"]),
            log=Path(values["log"]),
            listening=values["listening"],
            engine=values["engine"],
        )


def new_socket() -> socket.socket:
    """A socket of the protocol."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Engines:
    """The engine processes that a job of one run may use."""

    def __init__(self, spec: Spec, logs: Path, leases: Leases | None = None) -> None:
        """They infer with `spec`, and write a log each in the folder `logs`. Their run is that of this process's
        parent.

        Raises MachineError if the parent is gone.
        """
        owner = ProcessId.of(os.getppid())
        if owner is None:
            raise MachineError("the process that started this job has ended; run again")
        self._run = Run(owner, spec.digest)
        self._spec = spec
        self._logs = logs
        self._leases = leases or Leases()

    @contextlib.contextmanager
    def lease(self, gpus: Sequence[GPU], count: int, most: int) -> Iterator[list[Address]]:
        """Leases `count` of `gpus`, or all if there are no more, for the `with` block; the run may use `most` at a
        time. Each has an engine process, which may still be loading its network.

        Raises MachineError.
        """
        with contextlib.ExitStack() as held:
            try:
                with self._leases.turn():
                    self._leases.sweep()
                    addresses = []
                    for gpu in self._leases.choose(gpus, count, most, self._run):
                        held.enter_context(self._leases.take_share(gpu, self._run))
                        held.enter_context(self._connect_or_start(gpu))
                        addresses.append(self._address(gpu))
            except OSError as error:
                raise MachineError.from_os_error(error, "leasing a GPU") from None
            except subprocess.CalledProcessError:
                raise MachineError(
                    "the engine process of a GPU cannot be started: there may be too many processes; run again"
                ) from None
            yield addresses

    def kill(self, address: Address) -> None:
        """Kills the engine process at `address`, which hangs, and waits a while until it is gone."""
        with self._leases.turn():  # else the holder might be a process that looks whether there is one
            pid = self._leases.engine_pid(address.gpu, self._run)
            if pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(MachineError):
                    self._leases.take_engine(address.gpu, self._run).close()

    def mark_unusable(self, gpu: GPU, why: str) -> bool:
        """Notes that this run cannot use the GPU. Whether this job is the first to say so."""
        return self._leases.mark_unusable(gpu, self._run, why)

    def has_worked(self, gpu: GPU) -> bool:
        """Whether an engine process of this run has worked on the GPU."""
        return self._leases.has_worked(gpu, self._run)

    def why_unusable(self, gpu: GPU) -> str:
        """What a job of this run has noted about the GPU; empty if nothing."""
        return self._leases.why_unusable(gpu, self._run)

    def _address(self, gpu: GPU) -> Address:
        log = self._logs / f"{gpu.file_name}.log"
        return Address(gpu, self._leases.socket(gpu, self._run), log, self._spec)

    def _connect_or_start(self, gpu: GPU) -> socket.socket:
        """A connection to the engine process of the GPU, which does not end as long as there is one."""
        address = self._address(gpu)
        connection = self._connect(address)
        if connection is None:
            # Whoever connects now finds a socket that listens, and waits until the process accepts.
            with new_socket() as listening, self._leases.take_engine(gpu, self._run) as engine:
                engine.truncate(0)  # it is not this process that is to be ended
                address.path.unlink(missing_ok=True)
                listening.bind(str(address.path))
                listening.listen(_BACKLOG)
                self._start(address, listening, engine)
                connection = address.connect()
        with contextlib.suppress(OSError):  # it has just ended, which workers will see
            protocol.send(connection, self._spec.hello())
        return connection

    def _connect(self, address: Address) -> socket.socket | None:
        """A connection to the engine process at `address`; None if there is none, or if it is ending."""
        try:
            connection = address.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        # The kernel closes the files of a killed process one after the other, those of its GPU among them: who was
        # connected knows of its end while its socket may still listen, and its lease may still hold.
        pid = self._leases.engine_pid(address.gpu, self._run)
        if pid is None or (pid and ProcessId.of(pid) is None):
            connection.close()
            return None
        return connection

    def _start(self, address: Address, listening: socket.socket, engine: IO[str]) -> None:
        start = Start(
            gpu=address.gpu,
            run=self._run,
            spec=self._spec,
            leases=self._leases.folder,
            log=address.log,
            listening=listening.fileno(),
            engine=engine.fileno(),
        )
        address.log.parent.mkdir(parents=True, exist_ok=True)
        with address.log.open("ab") as log:
            # Through a shell that ends at once: the process is nobody's child, and leaves no zombie with the job. It
            # inherits nothing that a pipe's reader would wait for.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, str(SCRIPT), str(start)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listening.fileno(), engine.fileno()),
                start_new_session=True,
            )
