"""Our files in folders that others can write to: regular ones only, written anew, and flushed to the disk."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

# macOS has none.
_syncfs: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
# The answers of file systems that cannot be told to write a file to the disk.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A link is not followed, and a pipe without a writer does not wait for one."""


def create(path: Path, data: bytes) -> None:
    """Writes `data` to a new file at `path`, and makes the folders above it. Raises OSError.

    An old file there, be it a link or a second name of another file, loses this name and is otherwise left alone.
    """
    try:
        descriptor = _open_new(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_new(path)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _open_new(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, 0o666)


def open_regular(path: Path, mode: str) -> IO[str]:
    """The text file at `path`, opened in the `mode` `r` or `a+` (then made where there is none).

    Raises OSError, with ELOOP for a link and EINVAL for anything else that is no regular file.
    """
    flags = {"r": os.O_RDONLY, "a+": os.O_RDWR | os.O_APPEND | os.O_CREAT}[mode]
    return os.fdopen(_open_regular(path, flags), mode, encoding="utf-8", newline="")


def open_bytes(path: Path) -> io.BufferedReader:
    """The file at `path`, opened for reading. Raises OSError as `open_regular` does."""
    return os.fdopen(_open_regular(path, os.O_RDONLY), "rb")


def _open_regular(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | _FLAGS, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def is_folder(path: Path) -> bool:
    """Whether there is a folder at `path`, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """Removes the file, the link or the folder with its content at `path`, if there is one. Raises OSError."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_with_empty_parents(path: Path, root: Path) -> None:
    """Removes `path`, below `root`, as `remove` does, and then the folders between the two that are left empty."""
    remove(path)
    for parent in path.parents:
        if parent == root or not parent.is_relative_to(root):
            return
        try:
            parent.rmdir()
        except OSError:  # not empty
            return


def remove_foreign(folder: Path) -> None:
    """Removes everything in `folder`, and in the folders in it, that is neither a folder nor a regular file with one
    name: writing to it would write to something else."""
    for parent, subfolders, names in os.walk(folder):
        for path in (Path(parent, name) for name in (*subfolders, *names)):
            status = path.lstat()
            if not (stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)):
                path.unlink()


def flush(path: Path) -> None:
    """Writes the content of the file at `path`, or the names in the folder there, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Writes all of the file system that holds `path` to the disk: many files at once. Raises OSError."""
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


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Makes `target` appear whole or not at all. Gives a path beside it, where nothing is, for the `with` block to
    write a file or folder to.

    At the end of the block it is flushed to the disk and renamed to `target`; if the block fails, it is removed. So
    are the remains of an earlier run that was killed. Raises OSError.
    """
    part = target.with_name(f".{_short(target.name)}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    remove(part)
    try:
        yield part
        if part.is_dir():
            sync(part)
        else:
            flush(part)
        if target.is_dir():
            remove(target)
        part.replace(target)
        flush(target.parent)
    finally:
        remove(part)


def _short(name: str) -> str:
    """`name`, or a hash of it if it leaves no room for more in a file's name."""
    return name if len(os.fsencode(name)) < 240 else hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
