"""Confinement: a thread that handles weights from strangers can do no harm, whatever they make ultralytics do."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROCESSES = (
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pty.spawn",
)
_THREADS = ("_thread.start_new_thread", "_thread.start_joinable_thread")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {  # of files, by audit event: how many of the first arguments are paths
    "os.chflags": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.removexattr": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.setxattr": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
    "sqlite3.connect": 1,
}
_HARMLESS = ("socket.gethostname",)


class RefusedError(PermissionError):
    """An act that a confined thread was refused."""


class _Confinement(threading.local):
    """The confinement of the thread that reads it."""

    folders: tuple[str, ...] | None = None
    """The folders that it may write to; None if it is not confined."""
    refused: tuple[str, ...] = ()


_here = _Confinement()
_hooking = threading.Lock()
_is_hooked = False


@contextlib.contextmanager
def confined(*folders: Path) -> Iterator[list[str]]:
    """Confines this thread within the `with` block: each attempt to use the network, to start a process or a thread,
    or to write anywhere but below `folders` raises RefusedError.

    Gives a list. At the end it holds, in words, the attempts to use the network or to start processes, since the code
    in between may swallow the error. Python tells of new threads from 3.12 on.

    It goes by Python's audit events (PEP 578), so it stops Python code; native code could do all of it unseen. Other
    threads, which may read archives over the network, are left alone.
    """
    _hook()
    tried: list[str] = []
    before, before_refused = _here.folders, _here.refused
    _here.folders, _here.refused = tuple(os.path.realpath(folder) for folder in folders), ()
    try:
        yield tried
    finally:
        tried += _here.refused
        _here.folders, _here.refused = before, before_refused + _here.refused


def _hook() -> None:
    """Installs the one audit hook; it stays until the process ends."""
    global _is_hooked
    with _hooking:
        if not _is_hooked:
            sys.addaudithook(_audit)
            _is_hooked = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _here.folders is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
            _refuse_path(path)
    elif event in _CHANGES:
        if any(isinstance(argument, int) and argument >= 0 for argument in _folders(event, arguments)):
            raise RefusedError(f"weights may not change files ({event})")
        for path in arguments[: _CHANGES[event]]:
            if not isinstance(path, int):
                _refuse_path(path)
    elif event.startswith("socket.") and event not in _HARMLESS:
        _refuse("use the network", event)
    elif event in _PROCESSES:
        _refuse("start a program", event)
    elif event in _THREADS:
        raise RefusedError("weights may not start threads, which would not be confined")


def _folders(event: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The descriptors of folders that the paths of `event` are relative to; -1 where they are relative to none."""
    positions = {
        "os.chmod": slice(2, None),
        "os.chown": slice(3, None),
        "os.link": slice(2, None),
        "os.mkdir": slice(2, None),
        "os.remove": slice(1, None),
        "os.rename": slice(2, None),
        "os.rmdir": slice(1, None),
        "os.symlink": slice(2, None),
        "os.utime": slice(3, None),
    }
    return arguments[positions[event]] if event in positions else ()


def _refuse(what: str, event: str) -> None:
    _here.refused = (*_here.refused, what)
    raise RefusedError(f"weights may not {what} ({event})")


def _refuse_path(path: Any) -> None:
    """Raises RefusedError unless `path` lies below a folder that may be written to."""
    assert _here.folders is not None
    real = os.path.realpath(os.fsdecode(path))
    if real == os.devnull or any(os.path.commonpath([real, folder]) == folder for folder in _here.folders):
        return
    raise RefusedError(f"weights may not write {real}")
