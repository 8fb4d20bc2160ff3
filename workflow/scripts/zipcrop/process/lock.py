"""Locks on files. The kernel frees one when its holder ends, however it ends, so none is ever left over."""

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

# Some network file systems have no locks. There, it is the user who has to see that nothing runs twice.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FOREIGN = (errno.ELOOP, errno.EINVAL)
"""What `files.open_regular` says of links, and of what is no regular file."""
_TRIES = 100

_HOLDER = re.compile(r"process (\d+) on (.+)")


class LockedError(Exception):
    """Somebody else holds the lock; the message says who, such as `process 4711 on myhost`."""

    def taker_has_ended(self) -> bool:
        """Whether the process that took the lock is known to be gone: then it was handed to what holds it."""
        named = _HOLDER.fullmatch(str(self))
        if named is None or named[2] != socket.gethostname():
            return False
        try:
            os.kill(int(named[1]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it is somebody else's
            pass
        return False


def acquire(path: Path) -> IO[str]:
    """The file at `path`, made where there is none, and locked until it is closed or this process ends.

    Raises LockedError if another process, or another file object of this one, holds it, MachineError if it does not
    stay where it is, OSError.
    """
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = files.open_regular(path, "a+")
        except FileNotFoundError:  # whoever held it has just removed the folder
            continue
        except OSError as error:
            if error.errno not in _FOREIGN:
                raise
            path.unlink()  # a link, or a pipe
            continue
        if os.fstat(file.fileno()).st_nlink > 1:  # it has another name, and whoever gave it that wants it written to
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
            with contextlib.suppress(OSError):  # a full disk; the lock holds all the same
                file.truncate(0)
                os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return file
        file.close()
    raise MachineError(f"{path} changes all the time and cannot be locked; see who does that, and run again")


def is_held(file: IO[str]) -> bool:
    """Whether a file that `acquire` gave is locked indeed, or is where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_still_at(path: Path, file: IO[str]) -> bool:
    """Whether nobody has removed the file between its opening and its locking."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
