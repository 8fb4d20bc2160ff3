from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.project import ROOT
from zipcrop.process import lock

HOLDER = """
import pathlib, sys, time
from zipcrop.process import lock
held = lock.acquire(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_once_and_free_again_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    held = lock.acquire(path)
    with pytest.raises(lock.LockedError, match=f"^process {os.getpid()} on "):
        lock.acquire(path)
    held.close()
    lock.acquire(path).close()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(lock.LockedError, match=f"^process {holder.pid} on ") as refused:
            lock.acquire(path)
        assert refused.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
    assert lock.LockedError(f"process {holder.pid} on another-host").pid is None
    assert lock.LockedError("another process").pid is None
    lock.acquire(path).close()


def test_a_lock_on_a_file_that_is_gone_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = lock.acquire(path)
    path.unlink()
    with lock.acquire(path):
        assert path.read_text().startswith("process ")
    held.close()


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with lock.acquire(tmp_path / "lock") as held:
        assert lock.is_held(held)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.acquire(tmp_path / "lock") as held:
        assert not lock.is_held(held)
