"""An entry of the central directory of a ZIP archive: its fields, and the member's name.

The numbers are sections of PKWARE's APPNOTE.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import NamedTuple

SIGNATURE = b"PK\1\2"
UNKNOWN32 = 0xFFFFFFFF
"""A number that is too large for 32 bits has this in its place, and stands in the ZIP64 extra field."""
_ENTRY = struct.Struct("<4s4B4H3L5H2L")  # 4.3.12
SIZE = _ENTRY.size
"""Bytes of an entry without its name, extra fields and comment."""
LONGEST = SIZE + 3 * 0xFFFF
_ZIP64 = 0x0001  # 4.5.3
_UNICODE_PATH = 0x7075  # 4.6.9
_FLAG_UTF8 = 0x800


class Entry(NamedTuple):  # faster to make than a dataclass
    """An entry of the central directory, as the archive declares it."""

    number: int
    """0-based position in the directory: the member's index."""
    raw_name: bytes
    name: str
    flags: int
    method: int
    """The method of compression (4.4.5)."""
    crc32: int
    compressed_size: int
    size: int
    """Uncompressed bytes."""
    mode: int
    """The file's type and permissions on Unix; 0 if unknown."""


def length(block: bytes, at: int) -> int | None:
    """Bytes of the entry at `at` in `block`; None if no entry begins there."""
    if not block.startswith(SIGNATURE, at) or len(block) - at < SIZE:
        return None
    name, extra, comment = struct.unpack_from("<3H", block, at + 28)
    return SIZE + int(name) + int(extra) + int(comment)


def parse(number: int, block: bytes, at: int) -> Entry | None:
    """The entry at `at` in `block`, which is that `number` of its directory; None if there is none, or if it does not
    end in the block.
    """
    whole = length(block, at)
    if whole is None or whole > len(block) - at:
        return None
    fields = _ENTRY.unpack_from(block, at)
    flags, method, crc32, compressed_size, size = fields[5], fields[6], *fields[9:12]
    name_length, extra_length, external = fields[12], fields[13], fields[17]
    begin = at + _ENTRY.size
    raw_name = block[begin : begin + name_length]
    extra = block[begin + name_length : begin + name_length + extra_length]
    if UNKNOWN32 in (size, compressed_size):
        size, compressed_size, _ = zip64_fields(extra, [size, compressed_size, 0])
    name = _name(raw_name, flags, extra)
    return Entry(number, raw_name, name, flags, method, crc32, compressed_size, size, external >> 16)


def zip64_fields(extra: bytes, fields: list[int]) -> list[int]:
    """`fields`, in the order of 4.5.3; those that are UNKNOWN32 with their true values, where `extra` has them."""
    values = _extra_field(extra, _ZIP64)
    true = []
    for field in fields:
        if field == UNKNOWN32 and len(values) >= 8:
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
    """The name that `zipfile` gives: up to a NUL, and in cp437 where nothing else is said (appendix D)."""
    unicode_path = _extra_field(extra, _UNICODE_PATH) if extra else b""
    # Version 1, and the CRC of the name that it replaces: with another one, the entry has been renamed since.
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
