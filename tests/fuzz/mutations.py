"""Edits that damage an archive or an image.

An edit is numbers alone, so that their source need not know what they mean: `__main__` draws them with `random`,
`badinput/test_fuzz.py` with Hypothesis.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Edit = tuple[int, int, int, int]
"""The kind of edit, where, how much, and with which number; each from 0 to 65535."""
_TAIL = 4096
_NUMBERS = (0, 1, 2, 4, 8, 0x14, 0x2D, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000)
_LARGE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
# Signatures of ZIP, and the sizes of the fields that follow.
_FIELDS = {
    b"PK\1\2": "1111222244422222" + "44",
    b"PK\3\4": "2222244422",
    b"PK\5\6": "2222442",
    b"PK\6\6": "8224488" + "88",
    b"PK\6\7": "484",
    b"PK\7\x08": "444",
}
_EXTRA_LENGTH = {b"PK\1\2": (46, 28, 30), b"PK\3\4": (30, 26, 28)}


def mutate(data: bytes, edits: Sequence[Edit], fields: Callable[[bytes], list[tuple[int, int]]], other: bytes) -> bytes:
    """`data` after `edits`.

    `fields` finds the offset and size of the numbers in its headers; some edits put parts of `other` into it.
    """
    for kind, where, length, number in edits:
        if data:
            data = _EDITS[kind % len(_EDITS)](data, where, length, number, fields, other)
    return data


def _offset(data: bytes, where: int) -> int:
    """An offset anywhere in `data`; half of the time near its beginning or end, where headers are."""
    part, where = where % 4, where // 4
    if part == 0:
        return min(where % 256, len(data) - 1)
    if part == 1:
        return max(0, len(data) - 1 - where % _TAIL)
    return where * len(data) >> 14


def _span(length: int, data: bytes) -> int:
    """A number of bytes, mostly small."""
    return 1 + (length >> 4) % (8, 64, 1024, len(data))[length % 4]


def _truncate(data: bytes, where: int, length: int, *_: Any) -> bytes:
    at = _offset(data, where)
    return data[at:] if length % 4 == 0 else data[:at]


def _flip(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    edited = bytearray(data)
    edited[_offset(data, where)] ^= 1 << number % 8
    return bytes(edited)


def _set_byte(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    edited = bytearray(data)
    edited[_offset(data, where)] = number % 256
    return bytes(edited)


def _set_number(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    size = (1, 2, 4, 8)[length % 4]
    at = _offset(data, where)
    value = _interesting(data, data[at : at + size], number, "big" if length & 4 else "little")
    return data[:at] + value + data[at + size :]


def _set_field(data: bytes, where: int, length: int, number: int, fields: Any, *_: Any) -> bytes:
    if not (found := fields(data)):
        return data
    at, size = found[where % len(found)]
    return data[:at] + _interesting(data, data[at : at + size], number, "little") + data[at + size :]


def _interesting(data: bytes, old: bytes, number: int, order: Any) -> bytes:
    kind, number = number % 4, number // 4
    now = int.from_bytes(old, order)
    if kind == 0:
        value = _NUMBERS[number % len(_NUMBERS)]
    elif kind == 1:
        value = _LARGE[number % len(_LARGE)]
    elif kind == 2:
        value = now + (1, -1, 2, -2, 46, -46, 30, 22, 0x10000, now)[number % 10]
    else:
        value = (len(data), len(data) - 22, data.find(b"PK\1\2"), data.rfind(b"PK\3\4"), number)[number % 5]
    return (value % (1 << 8 * len(old))).to_bytes(len(old), order)


def _duplicate(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at, to = _offset(data, where), _offset(data, number)
    return data[:to] + data[at : at + _span(length, data)] + data[to:]


def _delete(data: bytes, where: int, length: int, *_: Any) -> bytes:
    at = _offset(data, where)
    return data[:at] + data[at + _span(length, data) :]


def _copy_over(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at, to = _offset(data, where), _offset(data, number)
    part = data[at : at + _span(length, data)]
    return data[:to] + part + data[to + len(part) :]


def _zero(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at = _offset(data, where)
    size = min(_span(length, data), len(data) - at)
    return data[:at] + (b"\xff" if number % 4 == 0 else b"\0") * size + data[at + size :]


def _noise(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at = _offset(data, where)
    size = min(_span(length, data), 64)
    return data[:at] + random.Random(number).randbytes(size) + data[at + (size if number % 2 else 0) :]


def _splice(data: bytes, where: int, length: int, number: int, fields: Any, other: bytes) -> bytes:
    at, there = _offset(data, where), _offset(other, number)
    size = _span(length, other)
    return data[:at] + other[there : there + size] + data[at + (size if length & 8 else 0) :]


_EDITS: list[Callable[..., bytes]] = [
    _truncate,
    _flip,
    _flip,
    _set_byte,
    _set_number,
    _set_field,
    _set_field,
    _set_field,
    _set_field,
    _duplicate,
    _delete,
    _copy_over,
    _zero,
    _noise,
    _splice,
]


def zip_fields(data: bytes) -> list[tuple[int, int]]:
    """Offset and size of every number in the headers of a ZIP archive, those in extra fields included."""
    found = []
    for signature, sizes in _FIELDS.items():
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            offset = at + 4
            for size in map(int, sizes):
                found.append((offset, size))
                offset += size
            if signature in _EXTRA_LENGTH and offset <= len(data):
                begin, name, extra = _EXTRA_LENGTH[signature]
                begin += at + int.from_bytes(data[at + name : at + name + 2], "little")
                end = begin + int.from_bytes(data[at + extra : at + extra + 2], "little")
                found += [(begin, 2), (begin + 2, 2)] if end > begin else []
                found += [(field, 8) for field in range(begin + 4, min(end, begin + 36), 8)]
    return [(at, size) for at, size in found if at + size <= len(data)]


def image_fields(data: bytes) -> list[tuple[int, int]]:
    """Offset and size of some numbers in an image: the first ones, and those near boxes, markers and chunks."""
    found = [(at, 2) for at in range(0, min(len(data), 64), 2)] + [(at, 4) for at in range(0, min(len(data), 64), 4)]
    for name in (b"ispe", b"iloc", b"infe", b"hvcC", b"av1C", b"IHDR", b"VP8", b"ANIM", b"\xff\xc0", b"\xff\xc2"):
        at = -1
        while (at := data.find(name, at + 1)) >= 0:
            found += [(at + step, size) for step in range(-4, 20, 2) for size in (1, 2, 4)]
    for name in (b"\xff\xda", b"\xff\xdb", b"\xff\xc4", b"\xff\x51", b"\xff\x52", b"\xff\x90", b"IDAT", b"acTL"):
        at = data.find(name)
        found += [(at + step, size) for step in range(-4, 20, 2) for size in (1, 2, 4)] if at >= 0 else []
    return [(at, size) for at, size in found if at >= 0 and at + size <= len(data)]


def with_right_checksums(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks made right, as far as chunks follow on one another: decoders soon give
    up on wrong ones."""
    fixed, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        struct.pack_into(">I", fixed, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(fixed)
