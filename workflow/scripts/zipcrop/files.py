"""Files: kept through a power cut, after which what was only written may be of length 0, or not be there."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

# macOS has none.
_syncfs: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
# What file systems answer that cannot be told to write a file to the disk.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def flush(path: Path) -> None:
    """Has the content of the file at `path`, or the names in the folder there, written to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Has all of the file system that holds `path` written to the disk: many files at once. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _syncfs is not None and _syncfs(descriptor) == 0:
            return
        code = errno.ENOSYS if _syncfs is None else ctypes.get_errno()
    finally:
        os.close(descriptor)
    if code not in _CANNOT:
        raise OSError(code, os.strerror(code), str(path))
    os.sync()
