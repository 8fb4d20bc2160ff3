"""The central directory of a ZIP archive, read raw: where it lies, and its entries, one by one, from the file.

`zipfile` makes about 1 kB of objects of every entry before it says how many there are, takes the whole archive for
broken where one entry is, and guards against overlapping members in some versions only. The numbers below are sections
of the format's description, PKWARE's APPNOTE.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from zipcrop.archive import entry
from zipcrop.signatures import ZIP_END, ZIP_MEMBER

_END = struct.Struct("<4s4H2LH")  # 4.3.16
_ZIP64_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_ENTRY_IN_SHORT = struct.Struct("<4s16x2L3H8xL")  # signature, two sizes, lengths of what follows, offset
_BLOCK = 1 << 20
LONGEST_TAIL = _END.size + 0xFFFF
"""Bytes from the beginning of the end record to the end of the longest comment."""

_CHANGED = "is a damaged ZIP archive: its central directory has changed"

State: TypeAlias = Hashable
"""The version of an archive's bytes, as the machine tells it. It is there to be compared, and for nothing else."""


class ArchiveError(Exception):
    """An archive that cannot be used; the message is the reason, in words."""


class NoDirectory(ArchiveError):
    """A file without an end record: it is no ZIP archive, or only the beginning of one."""


class Reader(Protocol):
    """An archive's bytes. May be used by several threads at once."""

    size: int

    def read_at(self, length: int, offset: int) -> bytes:
        """`length` bytes from `offset` on, or as many as there are. Raises OSError or MachineError."""
        ...

    def state(self) -> State:
        """The present state of the bytes that are read. Raises OSError."""
        ...

    def close(self) -> None:
        """Ends the reading."""
        ...


@dataclass(frozen=True)
class Extent:
    """Where the central directory lies in the file, in bytes."""

    start: int
    length: int
    count: int
    """Entries, as the end record declares them: unreliable, and modulo 65536 without ZIP64."""
    shift: int
    """The length of a stub before the archive, which has to be added to the archive's own offsets."""


def locate(reader: Reader) -> Extent:
    """Finds the central directory.

    Raises NoDirectory where there is no end record, ArchiveError where no end record can be right.
    """
    tail_start = max(0, reader.size - LONGEST_TAIL)
    tail = _exactly(reader, reader.size - tail_start, tail_start)
    empty = None
    error: ArchiveError = NoDirectory("is not a ZIP archive, or is cut off at its end")
    # From the back, since members may be archives. But the comment may hold anything, too.
    at = len(tail)
    while (at := tail.rfind(ZIP_END, 0, at)) >= 0:
        if len(tail) - at < _END.size:
            continue
        try:
            extent = _extent(reader, tail, at, tail_start + at)
        except ArchiveError as wrong:
            # Most programs go by the last one, so its fault is the one to tell.
            if isinstance(error, NoDirectory):
                error = wrong
        else:
            if extent.length:
                return extent
            empty = empty or extent  # zeros in a comment look like one, too
    if empty:
        return empty
    raise error


def _extent(reader: Reader, tail: bytes, at: int, end: int) -> Extent:
    _, disk, first_disk, _, count, length, offset, comment_length = _END.unpack_from(tail, at)
    zip64 = _zip64_end(reader, end)
    if zip64:
        end, disk, first_disk, count, length, offset = zip64
    if disk or first_disk:
        raise ArchiveError("is one part of a split archive; join the parts into one ZIP archive")
    # The directory ends where its end record begins, also where a stub before the archive shifts all offsets.
    start = end - length
    if start < 0 or (length and _exactly(reader, 4, start) != entry.SIGNATURE):
        raise ArchiveError("is a damaged ZIP archive: its central directory is not where it should be")
    if tail[at + _END.size + comment_length :].startswith((entry.SIGNATURE, ZIP_MEMBER)):
        # This end record belongs to an archive that is a member, and the archive around it is cut off.
        raise ArchiveError("is cut off at its end; download it again")
    return Extent(start, length, count, start - offset)


def _zip64_end(reader: Reader, end: int) -> tuple[int, int, int, int, int, int] | None:
    """The ZIP64 end record that replaces the one at `end`: its offset, disk, disk of the directory, number of entries,
    length and offset of the directory. None where there is none."""
    if end < _ZIP64_LOCATOR.size + _ZIP64_END.size:
        return None
    at = end - _ZIP64_LOCATOR.size
    signature, _, offset, disks = _ZIP64_LOCATOR.unpack(_exactly(reader, _ZIP64_LOCATOR.size, at))
    if signature != b"PK\6\7":
        return None
    if disks > 1:
        raise ArchiveError("is one part of a split archive; join the parts into one ZIP archive")
    # It usually lies right before its locator. A longer one is found by its offset.
    for begin in (at - _ZIP64_END.size, offset):
        record = reader.read_at(_ZIP64_END.size, begin) if begin < at else b""
        if len(record) == _ZIP64_END.size and record.startswith(b"PK\6\6"):
            _, _, _, _, disk, first_disk, _, count, length, directory = _ZIP64_END.unpack(record)
            return begin, disk, first_disk, count, length, directory
    return None


def _exactly(reader: Reader, length: int, offset: int) -> bytes:
    """`length` bytes from `offset` on. Raises ArchiveError if the file has been cut since it was opened."""
    data = reader.read_at(length, offset)
    if len(data) != length:
        raise ArchiveError(_CHANGED)
    return data


class Directory:
    """The entries of a central directory. It holds 16 bytes for each; the rest stays in the file."""

    def __init__(self, reader: Reader, most: int) -> None:
        """Reads the directory of the archive that `reader` reads.

        Raises ArchiveError if there are more than `most` entries, which it does not read, or if they cannot be told
        apart.
        """
        self._reader = reader
        self._extent = extent = locate(reader)
        # Archives of more than 4 GiB without ZIP64, as macOS makes them, have offsets modulo 2**32.
        wrapped = extent.shift > 0 and extent.shift % 2**32 == 0
        if extent.shift > 0 and not wrapped and reader.read_at(4, 0) == ZIP_MEMBER:
            raise ArchiveError(
                "is several ZIP archives in one file, or a damaged one; download it again, or unpack and pack it again"
            )
        shift = 0 if wrapped else extent.shift
        self.digest = ""
        """A hash of the directory's extent and bytes, as they were at the first reading."""
        self._positions = array("Q")
        self._offsets = array("q")
        previous = -2
        ascending = True
        for position, block, at in self._records():
            if len(self._positions) == most:
                count = max(extent.count, most + 1)
                at_least = "" if count == extent.count else "at least "
                raise ArchiveError(f"has {at_least}{count} members, more than limits.members ({most})")
            _, compressed, size, name, extra, _, offset = _ENTRY_IN_SHORT.unpack_from(block, at)
            if offset == entry.UNKNOWN32:
                begin = at + entry.SIZE + name
                offset = entry.zip64_fields(block[begin : begin + extra], [size, compressed, offset])[2]
            offset += shift
            if wrapped:
                while offset < previous and offset + 2**32 < extent.start:
                    offset += 2**32
            offset = max(-1, min(offset, extent.start))  # no system takes any number as an offset
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

    def __iter__(self) -> Iterator[entry.Entry]:
        """All entries, in their order. Raises ArchiveError at the end if they have changed since the first reading."""
        return (_parse(index, block, at) for index, (_, block, at) in enumerate(self._records()))

    def __getitem__(self, index: int) -> entry.Entry:
        """The entry at `index`. Raises ArchiveError if it is no longer there, OSError where the machine is at fault."""
        position = self._positions[index]
        end = self._extent.start + self._extent.length
        following = self._positions[index + 1] if index + 1 < len(self._positions) else end
        return _parse(index, self._reader.read_at(min(following - position, entry.LONGEST), position), 0)

    def offset(self, index: int) -> int:
        """The offset in the file of the local header of the entry at `index`, as declared; -1 if that is before the
        file's beginning, the directory's own offset if it is after that."""
        return self._offsets[index]

    def is_repeated(self, index: int) -> bool:
        """Whether an earlier entry has the same local header."""
        return index in self._repeated

    def room(self, index: int) -> tuple[int, bool]:
        """The offset at which the bytes of the entry at `index` must have ended, and whether another member begins
        there, or else the central directory."""
        following = bisect_right(self._sorted, self._offsets[index])
        if following < len(self._sorted):
            return min(self._sorted[following], self._extent.start), self._sorted[following] < self._extent.start
        return self._extent.start, False

    def _records(self) -> Iterator[tuple[int, bytes, int]]:
        """For every entry: its offset in the file, a block of bytes that holds all of it, and its offset there."""
        position, end = self._extent.start, self._extent.start + self._extent.length
        block, at = b"", 0
        digest = hashlib.sha256(repr(self._extent).encode())
        while position < end:
            if len(block) - at < entry.LONGEST and position + len(block) - at < end:
                digest.update(memoryview(block)[:at])
                block = _exactly(self._reader, min(_BLOCK, end - position), position)
                at = 0
            if block.startswith(b"PK\5\5", at):  # 4.3.13, a digital signature, ends it
                break
            length = entry.length(block, at)
            if length is None or length > end - position:
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


def _parse(index: int, block: bytes, at: int) -> entry.Entry:
    found = entry.parse(index, block, at)
    if found is None:
        raise ArchiveError(_CHANGED)
    return found
