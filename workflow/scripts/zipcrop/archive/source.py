"""Sources: where an archive is, what tells its content from another, and its bytes. A file, or an object in a store."""

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
"""The fingerprint of what cannot be read at the moment."""
_CACHED = 1 << 21
"""Bytes that a system keeps together at most: it forgets none of them unless it is told to forget all."""
# What a system answers where there is nothing.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Source(Protocol):
    """An archive that has not been opened."""

    @property
    def place(self) -> str:
        """Its path, or the URL of the object."""
        ...

    def size(self) -> int:
        """Bytes; 0 where they cannot be known."""
        ...

    def fingerprint(self) -> str:
        """What changes with the content, and not with times: hexadecimal digits and dashes."""
        ...

    def why_unreadable(self) -> str:
        """Why the fingerprint is UNREADABLE, in words; empty if it is not, or not any more."""
        ...

    def state(self) -> State:
        """That of what is there now: another one as soon as somebody has written to it, or has put something else in
        its place, be it with the same content. Raises OSError or MachineError."""
        ...

    def open(self, anew: bool = False) -> Reader:
        """Its bytes; if `anew`, none that are remembered from an earlier reading, as far as the system lets us. Raises
        ArchiveError if there is nothing that can be read, OSError or MachineError where the machine does not let us."""
        ...


def at(place: str) -> Source:
    """The archive at `place`, a path or URL."""
    if is_url(place):
        from zipcrop.archive.store import StoredZip  # which takes long to import

        return StoredZip(place)
    return LocalZip(place)


def is_url(place: str) -> bool:
    """Whether `place` is in an object store, and no path."""
    return place.startswith("s3://")


def check_unchanged(place: str, fingerprint: str) -> None:
    """Raises MachineError if the archive at `place` is not the one that had the `fingerprint` when the run began."""
    if at(place).fingerprint() != fingerprint:
        raise MachineError(f"{place} changed since the run began; run again once it is complete")


class FileState(NamedTuple):
    """The `State` of a file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """As the system gives it."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


class RefusedZip:
    """An archive that is not done for its name."""

    def __init__(self, place: str, refusal: str) -> None:
        """At `place`, which is only for people to read, for the reason `refusal`."""
        self.place = place
        self.refusal = refusal

    def size(self) -> int:
        """See `Source`."""
        return 0

    def fingerprint(self) -> str:
        """Of the reason."""
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

    def __init__(self, place: str) -> None:
        """At the path `place`."""
        self.place = place

    def size(self) -> int:
        """See `Source`."""
        try:
            return Path(self.place).stat().st_size
        except OSError:
            return 0

    def fingerprint(self) -> str:
        """A hash of the archive's central directory: names, sizes, CRCs and places of all members, read raw.

        A file without a readable central directory is known by its size, beginning and end instead. Never raises: what
        cannot be read is `unreadable`, and the job that has to read it says why.
        """
        try:
            file = self.open()
        except (OSError, ArchiveError):
            return UNREADABLE
        try:
            digest = hashlib.sha256(f"{file.size}:".encode())
            try:
                place = locate(file)
            except ArchiveError:
                end = min(file.size, LONGEST_TAIL)
                digest.update(file.read_at(end, 0) + file.read_at(end, file.size - end))
                return f"broken-{digest.hexdigest()[:32]}"
            for start in range(place.start, place.start + place.length, _BLOCK):
                digest.update(file.read_at(min(_BLOCK, place.start + place.length - start), start))
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
            return FileState.of(Path(self.place).stat())
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def open(self, anew: bool = False) -> LocalFile:
        """See `Source`."""
        return LocalFile(self.place, anew)


class LocalFile:
    """A `Reader` of a file."""

    def __init__(self, path: str, anew: bool = False) -> None:
        """Opens the regular file at `path`; if `anew`, the system is told to forget whatever is read. Raises
        ArchiveError if it is none (a pipe would wait for ever), OSError where the machine does not let us."""
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):  # before it is opened, since a device may do something then
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
