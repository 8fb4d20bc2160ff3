"""A Slurm cluster on this machine, for as long as it is needed: real daemons, several nodes, one pretended GPU each.

    python tests/slurm/cluster.py sinfo          runs a command with it
    python tests/slurm/cluster.py                keeps it up until Ctrl-C, and says how to use it

Needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge. Key, sockets, ports, state and logs are its
own: a cluster that the machine belongs to is neither used nor touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import psutil

_PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "srun": "slurm-client",
    "scontrol": "slurm-client",
    "squeue": "slurm-client",
    "munged": "munge",
}
_SECONDS = 30
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# No cgroups, which the container or virtual machine of a test may not have. Any device will do for a GPU: Slurm only
# hands out its number.
_SLURM_CONF = """\
ClusterName=zipcrop
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
# More CPUs than there are, so that jobs of several run beside each other.
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
# Jobs start as soon as they can, not at the next round.
SchedulerParameters=sched_min_interval=0,bf_interval=5
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}] CPUs={cpus} RealMemory=65536 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_GRES_CONF = "NodeName=n[1-{nodes}] Name=gpu File=/dev/zero\n"


class UnavailableError(Exception):
    """There can be no cluster here; the message says why, and what to do about it."""


def check_available() -> None:
    """Raises UnavailableError where this machine cannot run a cluster."""
    missing = {package for command, package in _PACKAGES.items() if not _find(command)}
    if missing:
        raise UnavailableError(
            f"Slurm is not there; on Debian and Ubuntu: apt install {' '.join(sorted(set(_PACKAGES.values())))} "
            f"(missing: {', '.join(sorted(missing))})"
        )
    if os.geteuid() != 0:
        raise UnavailableError("Slurm's daemons need root; run this as root, in a container if need be")


def _find(command: str) -> str | None:
    return shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


class Cluster:
    """A running cluster, for a `with` statement; at its end nothing is left of it."""

    def __init__(self, nodes: int = 2, cpus: int = 8) -> None:
        """With nodes `n1`, `n2` and so on, each of which pretends to have `cpus` and one GPU.

        Raises UnavailableError where this machine cannot run it.
        """
        check_available()
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        # munged wants a path that all may enter, and no other user may write to.
        self.folder = Path(tempfile.mkdtemp(prefix="zipcrop-slurm-"))
        self.folder.chmod(0o755)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        first = _free_ports(nodes + 1)
        names = {
            "folder": self.folder,
            "host": socket.gethostname().split(".")[0],
            "controller_port": first,
            "nodes": nodes,
            "node_ports": f"{first + 1}-{first + nodes}",
            "cpus": cpus,
        }
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(_SLURM_CONF.format(**names))
        (self.folder / "gres.conf").write_text(_GRES_CONF.format(**names))
        self.environment = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self._wrap('srun')}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        """The variables that make Slurm's commands talk to this cluster."""

    def __enter__(self) -> Cluster:
        try:
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D", "-c")
            for node in self.nodes:
                self.start_node(node)
            self._wait_for("the nodes", lambda: self.states() == dict.fromkeys(self.nodes, "IDLE"))
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._tear_down()

    def run(self, *command: str) -> str:
        """Runs one of Slurm's commands and returns its output. Raises CalledProcessError."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that the controller remembers: id, state, node."""
        lines = self.run("squeue", "--all", "--states=all", "--noheader", "--format=%i|%T|%N").splitlines()
        return [dict(zip(("id", "state", "node"), line.split("|"), strict=True)) for line in lines]

    def details(self, job: str) -> dict[str, str]:
        """The controller's record of the job with this id."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split(" ")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def states(self) -> dict[str, str]:
        """The state of each node, as far as the controller is there to tell."""
        try:
            lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        except subprocess.CalledProcessError:
            return {}
        return {node: state.upper() for node, state in (line.split() for line in lines)}

    def start_node(self, node: str) -> None:
        """Starts the daemon of a node, the first time or after `cut_power`."""
        self._start(node, "slurmd", "-D", "-N", node)

    def cut_power(self, node: str) -> None:
        """Kills a node's daemon, and every process below it, at once."""
        daemon = self._daemons.pop(node)
        steps = self._steps(node)
        daemon.kill()
        daemon.wait()
        _kill(steps)

    def _wrap(self, command: str) -> Path:
        """A folder with a `command` that finds this cluster by itself: within a job, Snakemake hides SLURM_CONF."""
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / command).write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {_find(command)} "$@"\n')
        (folder / command).chmod(0o755)
        return folder

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        options = {"key-file": key} | {
            f"{kind}-file": self.folder / f"munged.{kind}" for kind in ("pid", "log", "seed")
        }
        socket_path = self.folder / "munge.socket"
        self._start(
            "munged",
            "munged",
            "--foreground",
            f"--socket={socket_path}",
            *(f"--{name}={path}" for name, path in options.items()),
        )
        self._wait_for("munge", socket_path.exists)

    def _start(self, name: str, *command: str) -> None:
        path = _find(command[0])
        assert path is not None
        with (self.folder / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                [path, *command[1:]],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _SECONDS
        while not condition():
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-2000:]}"
                    for path in sorted(self.folder.iterdir())
                    if path.suffix in (".log", ".out")
                )
                raise RuntimeError(f"Slurm does not start: {what} ({', '.join(dead) or 'timeout'})\n{logs}")
            time.sleep(0.1)

    def _steps(self, node: str | None = None) -> list[psutil.Process]:
        """The processes below the daemon of a node, or of all nodes."""
        logs = {str(self.folder / f"{each}.log") for each in ([node] if node else self.nodes)}
        found = []
        for process in psutil.process_iter(["name"]):
            # The process that runs a job is no child of the daemon's and hides its arguments and environment, but
            # it has the daemon's log open.
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and logs & {file.path for file in process.open_files()}:
                    found += [process, *process.children(recursive=True)]
        return found

    def _tear_down(self) -> None:
        _kill(self._steps())
        for name in reversed(list(self._daemons)):
            self._daemons[name].terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        _kill(self._steps())
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody uses."""
    for first in range(17000, 60000, 50):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("", port))
            except OSError:
                continue
            return first
    raise UnavailableError("there are no free ports")


def main() -> int:
    try:
        with Cluster() as cluster:
            if len(sys.argv) > 1:
                return subprocess.run(sys.argv[1:], env={**os.environ, **cluster.environment}).returncode
            print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}\nCtrl-C ends the cluster.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            return 0
    except UnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
