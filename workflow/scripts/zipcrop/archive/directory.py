"""The central directory of a ZIP archive, read raw: where it lies, and its entries, one by one, from the file.

`zipfile` makes about 1 kB of objects of every entry before it says how many there are, takes the whole archive for
broken where one entry is, and guards against overlapping members in some versions only. The format: PKWARE's APPNOTE,
section 4.3; the numbers below are its sections.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

_END = struct.Struct("<4s4H2LH")  # 4.3.16
_ZIP64_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_ENTRY = struct.Struct("<4s4B4H3L5H2L")  # 4.3.12
_ENTRY_IN_SHORT = struct.Struct("<4s16x2L3H8xL")  # signature, two sizes, lengths of what follows, offset
_LONGEST_ENTRY = _ENTRY.size + 3 * 0xFFFF
_SIGNATURE = b"PK\1\2"
_BLOCK = 1 << 20
LONGEST_TAIL = _END.size + 0xFFFF
"""Bytes from the beginning of the end record to the end of the longest comment."""

_ZIP64 = 0x0001  # 4.5.3
_UNICODE_PATH = 0x7075  # 4.6.9
_FLAG_UTF8 = 0x800
_UNKNOWN16, _UNKNOWN32 = 0xFFFF, 0xFFFFFFFF
_CHANGED = "is a damaged ZIP archive: its central directory has changed"

State: TypeAlias = Hashable
"""What the bytes of an archive belong to, as the machine tells it: to be compared, and nothing else."""


class ArchiveError(Exception):
    """An archive that cannot be used; the message is the reason, in words."""


class NoDirectory(ArchiveError):
    """A file without an end record: no ZIP archive, or the beginning of one."""


class Reader(Protocol):
    """An archive's bytes. May be used by several threads at once."""

    size: int

    def read_at(self, length: int, offset: int) -> bytes:
        """`length` bytes from `offset` on, or as many as there are. Raises OSError or MachineError."""
        ...

    def state(self) -> State:
        """That of the bytes that are read, now. Raises OSError."""
        ...

    def close(self) -> None:
        """Nothing is read any more."""
        ...


@dataclass(frozen=True)
class Place:
    """Where the central directory lies, in bytes of the file."""

    start: int
    length: int
    count: int
    """Entries, as the end record declares them: not to be relied upon, and modulo 65536 without ZIP64."""
    shift: int
    """What has to be added to the archive's own offsets: the length of a stub before it."""


class Entry(NamedTuple):  # made faster than a dataclass is
    """An entry of the central directory, as the archive declares it."""

    number: int
    """0-based position in the directory: the member's index."""
    raw_name: bytes
    name: str
    flags: int
    method: int
    """Of compression (4.4.5)."""
    crc32: int
    compressed_size: int
    size: int
    """Uncompressed bytes."""
    mode: int
    """Type and permissions as Unix has them; 0 if unknown."""


def locate(reader: Reader) -> Place:
    """The central directory's place in the archive.

    Raises NoDirectory where there is no end record, ArchiveError where it cannot be right.
    """
    tail_start = max(0, reader.size - LONGEST_TAIL)
    tail = _exactly(reader, reader.size - tail_start, tail_start)
    empty = None
    error: ArchiveError = NoDirectory("is not a ZIP archive, or is cut off at its end")
    # From the back, since members may hold archives; but a comment may hold anything, too.
    at = len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
        if len(tail) - at < _END.size:
            continue
        try:
            place = _place(reader, tail, at, tail_start + at)
        except ArchiveError as wrong:
            # The last one is what most programs go by, so its fault is the one to tell.
            if isinstance(error, NoDirectory):
                error = wrong
        else:
            if place.length:
                return place
            empty = empty or place  # zeros in a comment look so, too
    if empty:
        return empty
    raise error


def _place(reader: Reader, tail: bytes, at: int, end: int) -> Place:
    _, disk, first_disk, _, count, length, offset, comment_length = _END.unpack_from(tail, at)
    zip64 = _zip64_end(reader, end)
    if zip64:
        end, disk, first_disk, count, length, offset = zip64
    if disk or first_disk:
        raise ArchiveError("is one part of a split archive; join the parts into one ZIP archive")
    # The directory ends where its end record begins, also where a stub before the archive shifts all offsets.
    start = end - length
    if start < 0 or (length and _exactly(reader, 4, start) != _SIGNATURE):
        raise ArchiveError("is a damaged ZIP archive: its central directory is not where it should be")
    if tail[at + _END.size + comment_length :].startswith((b"PK\1\2", b"PK\3\4")):
        # A ZIP archive that was a member, in what is left of the archive around it.
        raise ArchiveError("is cut off at its end; download it again")
    return Place(start, length, count, start - offset)


def _zip64_end(reader: Reader, end: int) -> tuple[int, int, int, int, int, int] | None:
    """What the ZIP64 end record says in place of the one at `end`, after its own offset: disk, disk of the directory,
    entries, length and offset of the directory. None where there is none."""
    if end < _ZIP64_LOCATOR.size + _ZIP64_END.size:
        return None
    at = end - _ZIP64_LOCATOR.size
    signature, _, offset, disks = _ZIP64_LOCATOR.unpack(_exactly(reader, _ZIP64_LOCATOR.size, at))
    if signature != b"PK\6\7":
        return None
    if disks > 1:
        raise ArchiveError("is one part of a split archive; join the parts into one ZIP archive")
    # Usually right before its locator. Where it is longer than usual, it is found by its offset.
    for begin in (at - _ZIP64_END.size, offset):
        record = reader.read_at(_ZIP64_END.size, begin) if begin < at else b""
        if len(record) == _ZIP64_END.size and record.startswith(b"PK\6\6"):
            _, _, _, _, disk, first_disk, _, count, length, directory = _ZIP64_END.unpack(record)
            return begin, disk, first_disk, count, length, directory
    return None


def _exactly(reader: Reader, length: int, offset: int) -> bytes:
    """What is there, unless the file has been cut since it was opened. Raises ArchiveError."""
    data = reader.read_at(length, offset)
    if len(data) != length:
        raise ArchiveError(_CHANGED)
    return data


class Directory:
    """The entries of a central directory. It holds 16 bytes for each; the rest stays in the file."""

    def __init__(self, reader: Reader, most: int) -> None:
        """Of the archive that `reader` reads. Raises ArchiveError if there are more than `most` entries, which it does
        not read, or if they cannot be told apart."""
        self._reader = reader
        self._place = place = locate(reader)
        # Archives of more than 4 GiB without ZIP64, as macOS makes them, have offsets modulo 2**32.
        wrapped = place.shift > 0 and place.shift % 2**32 == 0
        if place.shift > 0 and not wrapped and reader.read_at(4, 0) == b"PK\3\4":
            raise ArchiveError(
                "is several ZIP archives in one file, or a damaged one; download it again, or unpack and pack it again"
            )
        shift = 0 if wrapped else place.shift
        self.digest = ""
        """A hash of the directory's place and bytes, as they were read first."""
        self._positions = array("Q")
        self._offsets = array("q")
        previous = -2
        ascending = True
        for position, block, at in self._records():
            if len(self._positions) == most:
                count = max(place.count, most + 1)
                at_least = "" if count == place.count else "at least "
                raise ArchiveError(f"has {at_least}{count} members, more than limits.members ({most})")
            _, compressed, size, name, extra, _, offset = _ENTRY_IN_SHORT.unpack_from(block, at)
            if offset == _UNKNOWN32:
                begin = at + _ENTRY.size + name
                offset = _zip64_fields(block[begin : begin + extra], [size, compressed, offset])[2]
            offset += shift
            if wrapped:
                while offset < previous and offset + 2**32 < place.start:
                    offset += 2**32
            offset = max(-1, min(offset, place.start))  # no system reads at any number
            ascending &= offset > previous
            previous = offset
            self._positions.append(position)
            self._offsets.append(offset)
        self._sorted = self._offsets
        self._repeated: set[int] = set()
        if not ascending:
            self._sort()

    def _sort(self) -> None:
        order = sorted(range(len(self._offsets)), key=self._offsets.__getitem__)
        self._sorted = array("q", (self._offsets[index] for index in order))
        for earlier, later in zip(self._sorted, order[1:], strict=False):
            if self._offsets[later] == earlier:
                self._repeated.add(later)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in their order. Raises ArchiveError at its end if they are no longer what they were."""
        return (_entry(index, block, at) for index, (_, block, at) in enumerate(self._records()))

    def __getitem__(self, index: int) -> Entry:
        """The entry at `index`. Raises ArchiveError if it is no longer there, OSError where the machine is at fault."""
        position = self._positions[index]
        end = self._place.start + self._place.length
        following = self._positions[index + 1] if index + 1 < len(self._positions) else end
        return _entry(index, self._reader.read_at(min(following - position, _LONGEST_ENTRY), position), 0)

    def offset(self, index: int) -> int:
        """Where in the file the local header of the entry at `index` should be; -1 if that is before its beginning, the
        directory's place if it is after that."""
        return self._offsets[index]

    def is_repeated(self, index: int) -> bool:
        """Whether an earlier entry has the same local header."""
        return index in self._repeated

    def room(self, index: int) -> tuple[int, bool]:
        """Where the bytes of the entry at `index` must have ended, and whether it is another member that begins there,
        or else the central directory."""
        following = bisect_right(self._sorted, self._offsets[index])
        if following < len(self._sorted):
            return min(self._sorted[following], self._place.start), self._sorted[following] < self._place.start
        return self._place.start, False

    def _records(self) -> Iterator[tuple[int, bytes, int]]:
        """Every entry's offset in the file, and a block of bytes with the offset in it at which the whole of it is."""
        position, end = self._place.start, self._place.start + self._place.length
        block, at = b"", 0
        digest = hashlib.sha256(repr(self._place).encode())
        while position < end:
            if len(block) - at < _LONGEST_ENTRY and position + len(block) - at < end:
                digest.update(memoryview(block)[:at])
                block = _exactly(self._reader, min(_BLOCK, end - position), position)
                at = 0
            if block.startswith(b"PK\5\5", at):  # 4.3.13, a digital signature, ends it
                break
            length = _length(block, at)
            if length > end - position:
                raise ArchiveError(
                    "is a damaged ZIP archive: its central directory is damaged "
                    f"after {len(self._positions)} members; download it again"
                )
            yield position, block, at
            at += length
            position += length
        digest.update(memoryview(block)[:at])
        self.digest = self.digest or digest.hexdigest()
        if self.digest != digest.hexdigest():
            raise ArchiveError(_CHANGED)


def _length(block: bytes, at: int) -> int:
    """Of the entry at `at`, in bytes; more than any can have if there is none."""
    if not block.startswith(_SIGNATURE, at) or len(block) - at < _ENTRY.size:
        return 1 << 62
    name, extra, comment = struct.unpack_from("<3H", block, at + 28)
    return _ENTRY.size + name + extra + comment


def _entry(index: int, block: bytes, at: int) -> Entry:
    if _length(block, at) > len(block) - at:
        raise ArchiveError(_CHANGED)
    fields = _ENTRY.unpack_from(block, at)
    flags, method, crc32, compressed_size, size = fields[5], fields[6], *fields[9:12]
    name_length, extra_length, external = fields[12], fields[13], fields[17]
    begin = at + _ENTRY.size
    raw_name = block[begin : begin + name_length]
    extra = block[begin + name_length : begin + name_length + extra_length]
    if _UNKNOWN32 in (size, compressed_size):
        size, compressed_size, _ = _zip64_fields(extra, [size, compressed_size, 0])
    name = _name(raw_name, flags, extra)
    return Entry(index, raw_name, name, flags, method, crc32, compressed_size, size, external >> 16)


def _zip64_fields(extra: bytes, fields: list[int]) -> list[int]:
    """`fields`, 4.5.3's in their order, with the true values of those that are too large for 32 bits; as they are where
    there are no such values."""
    values = _extra_field(extra, _ZIP64)
    true = []
    for field in fields:
        if field == _UNKNOWN32 and len(values) >= 8:
            field, values = int.from_bytes(values[:8], "little"), values[8:]
        true.append(field)
    return true


def _extra_field(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _name(raw: bytes, flags: int, extra: bytes) -> str:
    """As `zipfile` has it: cp437 where nothing else is said (appendix D), and up to a NUL."""
    unicode_path = _extra_field(extra, _UNICODE_PATH) if extra else b""
    # Version 1 and the CRC of the name that it stands for, lest it be of an entry that has been renamed since.
    if unicode_path[:5] == b"\1" + zlib.crc32(raw).to_bytes(4, "little"):
        with contextlib.suppress(UnicodeDecodeError):
            if name := _up_to_nul(unicode_path[5:].decode()):
                return name
    try:
        return _up_to_nul(raw.decode("utf-8" if flags & _FLAG_UTF8 else "cp437"))
    except UnicodeDecodeError:
        return _up_to_nul(raw.decode("cp437"))  # never fails


def _up_to_nul(name: str) -> str:
    return name.partition("\0")[0]
