"""JPEG files: the markers before their pixels, how many scans they have, and where they end."""

from __future__ import annotations

import re
from typing import NamedTuple

MAGIC = b"\xff\xd8\xff"
_FILL = re.compile(rb"\xff++")
"""The byte before a marker's kind, which may be repeated."""
_ALONE = frozenset([0x00, 0x01, *range(0xD0, 0xDA)])
"""Kinds of markers that no length follows."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame's header, of any coding."""
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends the data of a scan: no stuffed byte, restart or fill byte."""
_MOST_MARKERS = 100_000
"""Before the pixels, and again from there on. Four gigabytes of metadata would need fewer, and each costs time."""


class Frame(NamedTuple):
    """What comes before a JPEG's pixels."""

    scan: int
    """Where its first start-of-scan marker is; past the end if it has none."""
    single: bool
    """Whether no other scan follows."""
    arithmetic: bool
    """Whether its pixels are arithmetic-coded rather than Huffman-coded."""
    size: tuple[int, int] | None
    """Width and height in pixels as stored, before any EXIF rotation; None where they are not declared."""


def is_jpeg(data: bytes) -> bool:
    """Whether content is JPEG, which can be decoded at a fraction of its size."""
    return data.startswith(MAGIC)


def read_frame(data: bytes) -> Frame:
    """Follows a JPEG's markers one by one, since a thumbnail before the first scan may have scans of its own."""
    at, coding, components, size = 2, 0, 0, None
    for _ in range(_MOST_MARKERS):
        # Decoders, too, look for the next one, whatever lies before it.
        start = data.find(b"\xff", at)
        fill = _FILL.match(data, start) if start >= 0 else None
        if fill is None or fill.end() + 3 > len(data):
            break
        at = fill.end() - 1
        kind = data[at + 1]
        if kind in _ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == _START_OF_SCAN:
            single = coding in _SEQUENTIAL and data[at + 4 : at + 5] == bytes([components])
            return Frame(at, single, coding >= 0xC9, size)
        if length < 2:
            break  # no decoder goes on from here
        if kind in _FRAMES and at + 9 < len(data):
            coding, components = kind, data[at + 9]
            height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            size = (width, height) if width and height else None
        at += 2 + length
    return Frame(len(data), True, False, size)


class Scans(NamedTuple):
    """What a JPEG has from its first scan on."""

    number: int
    """How many scans there are, each of which is a pass of the decoder over all pixels."""
    end: int
    """Where its pixels end: at the end-of-image marker, or at the end of what is cut off."""


def read_scans(data: bytes, frame: Frame) -> Scans:
    """Follows a JPEG's markers from its first scan on, since tables and comments between scans may hold the bytes of
    any marker. Of more than 100,000 markers each counts as a scan."""
    if frame.single:
        end = data.find(b"\xff\xd9", frame.scan)
        return Scans(1, end if end >= 0 else len(data))
    at, number = frame.scan, 0
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        at, kind = found.start(), data[found.start() + 1]
        if kind == _END_OF_IMAGE:
            return Scans(number, at)
        number += kind == _START_OF_SCAN
        # A marker that decoders do not know has no length, either.
        at += 2 if kind < 0xC0 else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    else:
        number = _MOST_MARKERS
    return Scans(number, len(data))
