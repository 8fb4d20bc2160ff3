"""ZIP archives: their members, and a member's bytes, read with limits. Nothing is ever unpacked to disk."""

from __future__ import annotations

import errno
import lzma
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zipcrop import image

_COMPRESSION = {
    9: "deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "zstd",
    95: "xz",
    98: "PPMd",
    99: "AES encryption",
}
_FLAG_ENCRYPTED = 0x1
_APPLE_DOUBLE = b"\x00\x05\x16\x07"


class ArchiveError(Exception):
    """An archive that cannot be used; the message is the reason, in words."""


class MemberError(Exception):
    """A member that cannot be read; the message is the reason, in words."""


class NotAnImage(Exception):
    """A member that is passed over; the message is the reason, in words."""


@dataclass(frozen=True)
class Limits:
    """What is refused as a bomb."""

    member_mb: float
    megapixels: float
    members: int


@dataclass(frozen=True, slots=True)  # there are as many as members
class Member:
    """An entry of the central directory, as the archive declares it."""

    index: int
    """0-based position in the central directory."""
    name: str
    crc32: int
    size: int
    """Uncompressed bytes."""
    skip: str
    """Why it is passed over without reading it; empty where it may be an image."""


def open_file(path: str) -> BinaryIO:
    """The regular file at `path`, opened for reading. Raises ArchiveError if it is none (a pipe would wait for ever),
    OSError where the machine does not let us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArchiveError("is not a regular file")
    return os.fdopen(descriptor, "rb")


class Archive:
    """An open archive. `read` may be called by several threads at once."""

    def __init__(self, path: str, limits: Limits) -> None:
        """Opens the archive at `path`. Raises ArchiveError if its content is at fault, OSError if the machine is."""
        self._limits = limits
        self._file = open_file(path)
        try:
            self._zip = zipfile.ZipFile(self._file)
        except (
            zipfile.BadZipFile,
            struct.error,
            ValueError,
            NotImplementedError,
            EOFError,
            UnicodeDecodeError,
        ) as error:
            self._file.close()
            raise ArchiveError(_archive_reason(path, error)) from None
        except BaseException:
            self._file.close()
            raise
        self._infos = self._zip.infolist()
        if len(self._infos) > limits.members:
            self.close()
            raise ArchiveError(f"has {len(self._infos)} members, more than limits.members ({limits.members})")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()
        self._file.close()

    def members(self) -> list[Member]:
        """Every entry of the central directory, in its order."""
        return [
            Member(index, info.filename, info.CRC, info.file_size, _skip_reason(info))
            for index, info in enumerate(self._infos)
        ]

    def read(self, index: int) -> bytes:
        """The bytes of the member at `index`, checked against the declared size and CRC.

        Raises MemberError if the content is at fault, NotAnImage if it has no suffix and does not begin like an image,
        OSError if the machine is at fault.
        """
        info = self._infos[index]
        limit = int(self._limits.member_mb * 1e6)
        if info.file_size > limit:
            raise MemberError(f"{info.file_size} bytes are more than limits.member_mb ({self._limits.member_mb:g})")
        if info.flag_bits & _FLAG_ENCRYPTED:
            raise MemberError("is encrypted")
        try:
            with self._zip.open(info) as stream:
                data = stream.read(limit + 1)
        except OSError as error:
            # bzip2 says of damage that it is an OSError without number; a piece missing in the middle of the archive
            # makes offsets negative, which is an invalid argument.
            if error.errno not in (None, errno.EINVAL):
                raise
            raise MemberError(f"is damaged: {error}") from None
        except NotImplementedError:
            method = _COMPRESSION.get(info.compress_type, f"method {info.compress_type}")
            raise MemberError(f"is compressed in a way that cannot be read ({method})") from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            RuntimeError,
            ValueError,
            struct.error,
        ) as error:
            raise MemberError(f"is damaged: {error}") from None
        if len(data) != info.file_size:
            raise MemberError(f"is damaged: declares {info.file_size} bytes, has {len(data)}")
        if data.startswith(_APPLE_DOUBLE):
            raise NotAnImage("macOS metadata")
        if not image.has_suffix(info.filename) and not image.begins_like_image(data):
            raise NotAnImage("not an image")
        return data


def _skip_reason(info: zipfile.ZipInfo) -> str:
    if info.filename.endswith("/"):  # is_dir() fails on an empty name
        return "folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "symbolic link"
    if info.filename.startswith("__MACOSX/") or "/__MACOSX/" in info.filename:
        return "macOS metadata"
    if image.has_suffix(info.filename) and not image.has_image_suffix(info.filename):
        return "not an image"
    return ""


def _archive_reason(path: str, error: Exception) -> str:
    if Path(path).stat().st_size == 0:
        return "is an empty file"
    if isinstance(error, zipfile.BadZipFile) and "not a zip file" in str(error):
        return "is not a ZIP archive, or is cut off at its end"
    return f"is a damaged ZIP archive: {error}"
