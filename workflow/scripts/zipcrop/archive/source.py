"""Sources: an archive's location, a fingerprint of its content, and its bytes. A file, or an object in a store."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple, Protocol

from zipcrop.archive.directory import LONGEST_TAIL, ArchiveError, Reader, State, locate
from zipcrop.errors import MachineError

_BLOCK = 1 << 20
UNREADABLE = "unreadable"
"""The fingerprint of an archive that cannot be read at the moment."""
_CACHED = 1 << 21
"""Bytes that a system caches as one piece at most, and forgets only if it is told to forget all of them."""
# A system's answers where there is nothing.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Source(Protocol):
    """An archive that has not been opened."""

    @property
    def location(self) -> str:
        """The path of the file, or the URL of the object."""
        ...

    def size(self) -> int:
        """Size in bytes; 0 where it cannot be known."""
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digits and dashes that change with the content, and not with times."""
        ...

    def why_unreadable(self) -> str:
        """The reason why the fingerprint is UNREADABLE, in words; empty if it is not, or no longer."""
        ...

    def state(self) -> State:
        """The present state. It changes as soon as the archive is written to or replaced, even by the same content.
        Raises OSError or MachineError."""
        ...

    def open(self, anew: bool = False) -> Reader:
        """Opens the archive; if `anew`, its bytes do not come from a cache, as far as the system allows that.

        Raises ArchiveError if there is nothing that can be read, OSError or MachineError where the machine is at fault.
        """
        ...


def at(location: str) -> Source:
    """The archive at `location`, a path or URL."""
    if is_url(location):
        from zipcrop.archive.store import StoredZip  # it takes long to import

        return StoredZip(location)
    return LocalZip(location)


def is_url(location: str) -> bool:
    """Whether `location` is the URL of an object, and no path."""
    return location.startswith("s3://")


def check_unchanged(location: str, fingerprint: str) -> None:
    """Raises MachineError if the archive at `location` no longer has the `fingerprint` that it had when the run
    began."""
    if at(location).fingerprint() != fingerprint:
        raise MachineError(f"{location} changed since the run began; run again once it is complete")


class FileState(NamedTuple):
    """The `State` of a file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """The state in the system's answer."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


class RefusedZip:
    """An archive that is refused because of its name."""

    def __init__(self, location: str, refusal: str) -> None:
        """`location` is only for people to read; `refusal` is the reason, in words."""
        self.location = location
        self.refusal = refusal

    def size(self) -> int:
        """See `Source`."""
        return 0

    def fingerprint(self) -> str:
        """A hash of the reason."""
        return f"refused-{hashlib.sha256(self.refusal.encode()).hexdigest()[:24]}"

    def why_unreadable(self) -> str:
        """See `Source`."""
        return ""

    def state(self) -> State:
        """See `Source`."""
        return None

    def open(self, anew: bool = False) -> Reader:
        """Raises ArchiveError."""
        raise ArchiveError(self.refusal)


class LocalZip:
    """A ZIP archive in a file."""

    def __init__(self, location: str) -> None:
        """`location` is a path."""
        self.location = location

    def size(self) -> int:
        """See `Source`."""
        try:
            return Path(self.location).stat().st_size
        except OSError:
            return 0

    def fingerprint(self) -> str:
        """A hash of the archive's central directory: names, sizes, CRCs and offsets of all members, read raw.

        For a file without a readable central directory, a hash of its size, beginning and end. Never raises: a file
        that cannot be read is UNREADABLE, and the job that has to read it says why.
        """
        try:
            file = self.open()
        except (OSError, ArchiveError):
            return UNREADABLE
        try:
            digest = hashlib.sha256(f"{file.size}:".encode())
            try:
                extent = locate(file)
            except ArchiveError:
                end = min(file.size, LONGEST_TAIL)
                digest.update(file.read_at(end, 0) + file.read_at(end, file.size - end))
                return f"broken-{digest.hexdigest()[:32]}"
            for start in range(extent.start, extent.start + extent.length, _BLOCK):
                digest.update(file.read_at(min(_BLOCK, extent.start + extent.length - start), start))
            return digest.hexdigest()[:32]
        except OSError:
            return UNREADABLE
        finally:
            file.close()

    def why_unreadable(self) -> str:
        """See `Source`."""
        try:
            with contextlib.closing(self.open()) as file:
                file.read_at(1, 0)
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
        except ArchiveError as error:
            return str(error)
        return ""

    def state(self) -> FileState | None:
        """See `Source`. None where there is nothing."""
        try:
            return FileState.of(Path(self.location).stat())
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def open(self, anew: bool = False) -> LocalFile:
        """See `Source`."""
        return LocalFile(self.location, anew)


class LocalFile:
    """A `Reader` of a file."""

    def __init__(self, path: str, anew: bool = False) -> None:
        """Opens the regular file at `path`; if `anew`, the system is told to forget its cache before each reading.

        Raises ArchiveError if it is no regular file (a pipe would wait for ever), OSError if the machine is at fault.
        """
        try:
            if not stat.S_ISREG(
                Path(path).stat().st_mode
            ):  # before it is opened, since opening a device may do something
                raise ArchiveError("is not a regular file")
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP) and Path(path).is_symlink():
                raise ArchiveError("is a symbolic link to a file that is not there") from None
            raise
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise ArchiveError("is not a regular file")
        self.size = status.st_size
        self._anew = anew and hasattr(os, "posix_fadvise")  # macOS has none

    def read_at(self, length: int, offset: int) -> bytes:
        """See `Reader`."""
        if self._anew:
            begin = offset // _CACHED * _CACHED
            end = -(-(offset + length) // _CACHED) * _CACHED
            os.posix_fadvise(self._file.fileno(), begin, end - begin, os.POSIX_FADV_DONTNEED)
        data = os.pread(self._file.fileno(), length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]  # no system reads more than 2 GiB at once
        while (missing := length - sum(map(len, parts))) and (
            data := os.pread(self._file.fileno(), missing, offset + length - missing)
        ):
            parts.append(data)
        return b"".join(parts)

    def state(self) -> FileState:
        """See `Reader`."""
        return FileState.of(os.fstat(self._file.fileno()))

    def close(self) -> None:
        """See `Reader`."""
        self._file.close()
