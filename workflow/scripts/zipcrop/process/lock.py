"""Locks on files. The kernel frees a lock when its holder ends, however it ends, so none is ever left over."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
from pathlib import Path
from typing import IO

from zipcrop import files
from zipcrop.errors import MachineError

# Some network file systems have no locks. There, users have to see for themselves that nothing runs twice.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FOREIGN = (errno.ELOOP, errno.EINVAL)
"""The codes of `files.open_regular` for links, and for anything else that is no regular file."""
_TRIES = 100

_HOLDER = re.compile(r"process (\d+) on (.+)")


class LockedError(Exception):
    """Another process holds the lock; the message names it, such as `process 4711 on myhost`."""

    @property
    def pid(self) -> int | None:
        """The number of the process, if it is known and on this machine."""
        named = _HOLDER.fullmatch(str(self))
        return int(named[1]) if named is not None and named[2] == socket.gethostname() else None


def acquire(path: Path) -> IO[str]:
    """Opens the file at `path`, made where there is none, and locks it until it is closed or this process ends.

    Raises LockedError if another process, or another file object of this one, holds the lock; MachineError if the file
    is replaced again and again; OSError.
    """
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = files.open_regular(path, "a+")
        except FileNotFoundError:  # the last holder has just removed the folder
            continue
        except OSError as error:
            if error.errno not in _FOREIGN:
                raise
            path.unlink()  # a link, or a pipe
            continue
        if os.fstat(file.fileno()).st_nlink > 1:  # it is also another file, which somebody wants us to write to
            file.close()
            path.unlink(missing_ok=True)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise LockedError(holder or "another process") from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return file
            file.close()
            raise
        if _is_still_at(path, file):
            name_holder(file)
            return file
        file.close()
    raise MachineError(f"{path} changes all the time and cannot be locked; see who does that, and run again")


def name_holder(file: IO[str]) -> None:
    """Writes into a file from `acquire` that this process holds its lock, which it has taken or inherited."""
    with contextlib.suppress(OSError):  # a full disk; the lock holds all the same
        file.truncate(0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def is_held(file: IO[str]) -> bool:
    """Whether a file from `acquire` is really locked: where the file system has no locks, it is not."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_still_at(path: Path, file: IO[str]) -> bool:
    """Whether the file is still the one at `path`: it may have been removed between its opening and its locking."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
