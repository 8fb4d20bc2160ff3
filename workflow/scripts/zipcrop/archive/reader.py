"""The reader of ZIP archives: their members, and each member's bytes, within limits. It knows nothing of photos."""

from __future__ import annotations

import contextlib
import stat
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from zipcrop import signatures
from zipcrop.archive import compression, source
from zipcrop.archive.directory import ArchiveError as ArchiveError
from zipcrop.archive.directory import Directory, NoDirectory, Reader, State

if TYPE_CHECKING:
    from zipcrop.archive.entry import Entry
    from zipcrop.settings import Limits

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # APPNOTE, section 4.3.7
_FLAG_ENCRYPTED = 0x1
_FLAG_PATCH = 0x20
_MOST_OVERHEAD = 1 << 16
"""Bytes of compressed data beyond twice the size; no method makes data that much longer."""
_PACK_AGAIN = "unpack it and pack it again as an ordinary ZIP archive"
# Other kinds of files that are called .zip, by their first bytes.
_OTHER_KINDS = {
    signatures.RAR: f"a RAR archive; {_PACK_AGAIN}",
    signatures.SEVEN_ZIP: f"a 7z archive; {_PACK_AGAIN}",
    signatures.GZIP: f"gzip; {_PACK_AGAIN}",
    b"BZh": f"bzip2; {_PACK_AGAIN}",
    b"\xfd7zXZ\x00": f"xz; {_PACK_AGAIN}",
    b"\x28\xb5\x2f\xfd": f"zstd; {_PACK_AGAIN}",
    signatures.PDF: "a PDF document",
    signatures.JPEG: "a JPEG image",
    signatures.PNG: "a PNG image",
}
Kind: TypeAlias = Literal["", "folder", "symbolic link"]
"""What a member is other than a file."""
SYMBOLIC_LINK: Kind = "symbolic link"
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<!--")


class MemberError(Exception):
    """A member whose bytes cannot be had; the message is the reason, in words."""


class DamagedMember(MemberError):
    """A member whose bytes are not those that the directory declares."""


@dataclass(frozen=True, slots=True)  # there are as many as members
class Member:
    """A member, as far as it is known without reading it."""

    index: int
    """0-based position in the central directory."""
    name: str
    crc32: int
    size: int
    """Uncompressed bytes, as declared."""
    kind: Kind = ""


class Archive:
    """An open archive. Threads may share it."""

    def __init__(self, location: str, limits: Limits, anew: bool = False) -> None:
        """Opens the archive at `location`, a path or URL; for `anew` see `source.Source.open`. Raises ArchiveError if
        its content is at fault, OSError or MachineError if the machine is."""
        self._limits = limits
        self._reader = source.at(location).open(anew)
        try:
            self._directory = Directory(self._reader, limits.members)
        except NoDirectory:
            with contextlib.closing(self._reader):
                raise ArchiveError(_what_it_is(self._reader)) from None
        except BaseException:
            self._reader.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what it reads from."""
        self._reader.close()

    @property
    def digest(self) -> str:
        """A hash of the central directory, of its offset, and of the way it was read."""
        return self._directory.digest

    def state(self) -> State:
        """The present state of the file or object that is read. Raises OSError."""
        return self._reader.state()

    def members(self) -> list[Member]:
        """Every entry of the central directory, in its order. Raises ArchiveError if the directory has changed since
        the archive was opened, OSError or MachineError if the machine is at fault."""
        return [
            Member(index, entry.name, entry.crc32, entry.size, _kind(entry))
            for index, entry in enumerate(self._directory)
        ]

    def entry(self, index: int) -> Entry:
        """The entry of the member at `index`. Raises DamagedMember if it is no longer there, OSError or MachineError if
        the machine is at fault."""
        try:
            return self._directory[index]
        except ArchiveError as error:
            raise DamagedMember(str(error)) from None

    def memory(self, entry: Entry) -> int:
        """The bytes that the member takes while it is read, compressed and not; 0 if `read` refuses it."""
        return 0 if self._refusal(entry) else entry.compressed_size + entry.size

    def read(self, entry: Entry) -> bytes:
        """The bytes of the member, checked against the declared size and CRC.

        Raises MemberError if the content is at fault, OSError or MachineError if the machine is.
        """
        if refusal := self._refusal(entry):
            raise MemberError(refusal)
        try:
            # One byte more than there should be, to tell when there are more.
            data = compression.decompress(self._compressed(entry), entry.method, entry.size + 1)
        except compression.DamagedData as error:
            raise DamagedMember(f"is damaged: {error}") from None
        if len(data) != entry.size:
            has = "more" if len(data) > entry.size else len(data)
            raise DamagedMember(f"is damaged: declares {entry.size} bytes, has {has}")
        if zlib.crc32(data) != entry.crc32:
            raise DamagedMember("is damaged: Bad CRC-32")
        return data

    def _refusal(self, entry: Entry) -> str:
        """Why the member is not read; empty if it is."""
        if entry.size > self._limits.member_mb * 1e6:
            return f"{entry.size} bytes are more than limits.member_mb ({self._limits.member_mb:g})"
        if entry.flags & _FLAG_ENCRYPTED or entry.method == compression.AES:
            return "is encrypted; pack it again without a password"
        method = "a patch" if entry.flags & _FLAG_PATCH else compression.unreadable(entry.method)
        if method:
            return f"is compressed in a way that cannot be read ({method}); pack it again as an ordinary ZIP archive"
        if entry.compressed_size > 2 * entry.size + _MOST_OVERHEAD:  # it would all be held in memory
            return f"is damaged: declares {entry.size} bytes, and {entry.compressed_size} compressed"
        return ""

    def _compressed(self, entry: Entry) -> bytes:
        """The bytes between the member's local header and the next one. Raises DamagedMember if there is no such
        header, or if the bytes also belong to another member."""
        offset = self._directory.offset(entry.number)
        header = self._reader.read_at(_LOCAL_HEADER.size + len(entry.raw_name), max(0, offset))
        if offset < 0 or len(header) < _LOCAL_HEADER.size or not header.startswith(signatures.ZIP_MEMBER):
            raise DamagedMember("is damaged: there is no member where it should begin")
        *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(header)
        if name_length != len(entry.raw_name) or header[_LOCAL_HEADER.size :] != entry.raw_name:
            raise DamagedMember("is damaged: there is another member where it should begin")
        begin = offset + _LOCAL_HEADER.size + name_length + extra_length
        end = begin + entry.compressed_size
        room, next_is_member = self._directory.room(entry.number)
        if self._directory.is_repeated(entry.number) or (end > room and next_is_member):
            raise DamagedMember("overlaps another member, as in a ZIP bomb")
        if end > room:
            raise DamagedMember("is damaged: does not end before the central directory")
        data = self._reader.read_at(entry.compressed_size, begin)
        if len(data) != entry.compressed_size:
            raise DamagedMember("is damaged: the archive ends within it")
        return data


def _kind(entry: Entry) -> Kind:
    if entry.name.endswith("/"):
        return "folder"
    return SYMBOLIC_LINK if stat.S_ISLNK(entry.mode) else ""


def _what_it_is(reader: Reader) -> str:
    """Why a file without an end record is no archive."""
    head = reader.read_at(1024, 0)
    if not head:
        return "is an empty file"
    if head.startswith((b"PK\7\x08", b"PK00PK")):
        return "is one part of a split archive; join the parts into one ZIP archive"
    if head.startswith(signatures.ZIP_MEMBER):
        return "is cut off at its end; download it again"
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic):
            return f"is not a ZIP archive, but {kind}"
    if head[257:262] == b"ustar":
        return f"is not a ZIP archive, but a tar archive; {_PACK_AGAIN}"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML):
        return "is not a ZIP archive, but a web page, such as a failed download leaves; download it again"
    if not head.strip(b"\0"):
        return "is not a ZIP archive, but begins with zeros, as an interrupted download does; download it again"
    return "is not a ZIP archive, or is cut off at its end"
