"""ZIP archives: their members, and a member's bytes, read with limits. Nothing is ever unpacked to disk."""

from __future__ import annotations

import contextlib
import stat
import struct
import zlib
from dataclasses import dataclass

from zipcrop.archive import compression, source
from zipcrop.archive.directory import ArchiveError as ArchiveError
from zipcrop.archive.directory import Directory, NoDirectory, Reader, State
from zipcrop.archive.entry import Entry
from zipcrop.image import codec

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # APPNOTE, section 4.3.7
_FLAG_ENCRYPTED = 0x1
_FLAG_PATCH = 0x20
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_MOST_OVERHEAD = 1 << 16
"""Bytes, and no compression doubles what it cannot compress."""
_PACK_AGAIN = "unpack it and pack it again as an ordinary ZIP archive"
# What else is called .zip, by its first bytes.
_OTHER_KINDS = {
    b"Rar!\x1a\x07": f"a RAR archive; {_PACK_AGAIN}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive; {_PACK_AGAIN}",
    b"\x1f\x8b": f"gzip; {_PACK_AGAIN}",
    b"BZh": f"bzip2; {_PACK_AGAIN}",
    b"\xfd7zXZ\x00": f"xz; {_PACK_AGAIN}",
    b"\x28\xb5\x2f\xfd": f"zstd; {_PACK_AGAIN}",
    b"%PDF-": "a PDF document",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
}
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<!--")


class MemberError(Exception):
    """A member that cannot be read, by what the directory says of it; the message is the reason, in words."""


class DamagedMember(MemberError):
    """A member whose bytes are not those that the directory declares."""


class UnsupportedMember(MemberError):
    """A member whose bytes are those that the directory declares, but of a kind that cannot be decoded."""


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


class Archive:
    """An open archive. `read` may be called by several threads at once."""

    def __init__(self, place: str, limits: Limits, anew: bool = False) -> None:
        """Opens the archive at `place`, a path or URL; `anew` as `source.Source.open` has it. Raises ArchiveError if
        its content is at fault, OSError or MachineError if the machine is."""
        self._limits = limits
        self._reader = source.at(place).open(anew)
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
        """A hash of its central directory, where that lies, and of how it was read."""
        return self._directory.digest

    def state(self) -> State:
        """That of what it reads from, now. Raises OSError."""
        return self._reader.state()

    def name(self, index: int) -> str:
        """Of the member at `index`. Raises ArchiveError if its entry is no longer there, OSError or MachineError if the
        machine is at fault."""
        return self._directory[index].name

    def members(self) -> list[Member]:
        """Every entry of the central directory, in its order. Raises ArchiveError if that is no longer what it was when
        the archive was opened, OSError or MachineError if the machine is at fault."""
        return [
            Member(index, entry.name, entry.crc32, entry.size, _skip_reason(entry))
            for index, entry in enumerate(self._directory)
        ]

    def memory(self, index: int) -> int:
        """The bytes that the member at `index` takes while it is read, compressed and not; 0 if `read` refuses it."""
        try:
            entry = self._directory[index]
        except ArchiveError:
            return 0
        return 0 if self._refusal(entry) else entry.compressed_size + entry.size

    def compressed_size(self, index: int) -> int:
        """The bytes that the member at `index` takes in the archive, as declared; 0 if that cannot be read."""
        try:
            return self._directory[index].compressed_size
        except ArchiveError:
            return 0

    def read(self, index: int) -> bytes:
        """The bytes of the member at `index`, checked against the declared size and CRC.

        Raises MemberError if the content is at fault, NotAnImage if it has no suffix and does not begin like an image,
        OSError or MachineError if the machine is at fault.
        """
        try:
            entry = self._directory[index]
        except ArchiveError as error:
            raise DamagedMember(str(error)) from None
        if refusal := self._refusal(entry):
            raise MemberError(refusal)
        try:
            # One byte more than there should be, to tell when there are more.
            data = compression.decompress(self._compressed(index, entry), entry.method, entry.size + 1)
        except compression.DamagedData as error:
            raise DamagedMember(f"is damaged: {error}") from None
        if len(data) != entry.size:
            has = "more" if len(data) > entry.size else len(data)
            raise DamagedMember(f"is damaged: declares {entry.size} bytes, has {has}")
        if zlib.crc32(data) != entry.crc32:
            raise DamagedMember("is damaged: Bad CRC-32")
        if data.startswith(_APPLE_DOUBLE):
            raise NotAnImage("macOS metadata")
        if not codec.has_suffix(entry.name) and not codec.begins_like_image(data):
            raise NotAnImage("not an image")
        if reason := codec.unsupported(entry.name, data):
            raise UnsupportedMember(reason)
        return data

    def _refusal(self, entry: Entry) -> str:
        """Why the entry's member is not read; empty if it is."""
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

    def _compressed(self, index: int, entry: Entry) -> bytes:
        """The bytes between the member's local header and the next member's. Raises DamagedMember if there is no such
        header, or if the bytes are another member's, too."""
        offset = self._directory.offset(index)
        header = self._reader.read_at(_LOCAL_HEADER.size + len(entry.raw_name), max(0, offset))
        if offset < 0 or len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
            raise DamagedMember("is damaged: there is no member where it should begin")
        *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(header)
        if name_length != len(entry.raw_name) or header[_LOCAL_HEADER.size :] != entry.raw_name:
            raise DamagedMember("is damaged: there is another member where it should begin")
        begin = offset + _LOCAL_HEADER.size + name_length + extra_length
        end = begin + entry.compressed_size
        room, next_is_member = self._directory.room(index)
        if self._directory.is_repeated(index) or (end > room and next_is_member):
            raise DamagedMember("overlaps another member, as in a ZIP bomb")
        if end > room:
            raise DamagedMember("is damaged: does not end before the central directory")
        data = self._reader.read_at(entry.compressed_size, begin)
        if len(data) != entry.compressed_size:
            raise DamagedMember("is damaged: the archive ends within it")
        return data


def _skip_reason(entry: Entry) -> str:
    if entry.name.endswith("/"):
        return "folder"
    if stat.S_ISLNK(entry.mode):
        return "symbolic link"
    if entry.name.startswith("__MACOSX/") or "/__MACOSX/" in entry.name:
        return "macOS metadata"
    if not codec.has_image_suffix(entry.name) and codec.has_suffix(entry.name):
        return "not an image"
    return ""


def _what_it_is(reader: Reader) -> str:
    """Why a file without an end record is no archive."""
    head = reader.read_at(1024, 0)
    if not head:
        return "is an empty file"
    if head.startswith((b"PK\7\x08", b"PK00PK")):
        return "is one part of a split archive; join the parts into one ZIP archive"
    if head.startswith(b"PK\3\4"):
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
