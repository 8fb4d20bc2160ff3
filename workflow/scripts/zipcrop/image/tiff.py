"""TIFF files: the tags of their first image."""

from __future__ import annotations

import struct

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DNG_VERSION, BITS_PER_SAMPLE = 50706, 258
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
_MOST_TAGS = 65535
"""The classic kind cannot have more; a BigTIFF could declare 2^64."""
_MOST_TILED = 64_000_000
"""Pixels of all tiles, which OpenCV decodes in whole however small the picture is that they make up."""


def is_tiff(data: bytes) -> bool:
    """Whether content is TIFF, classic or BigTIFF."""
    return data.startswith(MAGICS)


def tags(data: bytes) -> dict[int, int]:
    """The tags of a TIFF file's first image, each with its first value where that is a number of 16 to 64 bits, else 0.
    Empty where it is no TIFF file."""
    if not is_tiff(data):
        return {}
    order = "<" if data[:2] == b"II" else ">"
    # The classic kind, and BigTIFF.
    place, pointer, counter = (8, "Q", "Q") if b"+" in data[2:4] else (4, "I", "H")
    layout = struct.Struct(f"{order}HH{pointer}{pointer}")
    room = struct.calcsize(pointer)
    found = {}
    try:
        (start,) = struct.unpack_from(f"{order}{pointer}", data, place)
        (count,) = struct.unpack_from(f"{order}{counter}", data, start)
        start += struct.calcsize(counter)
        for entry in range(start, start + layout.size * min(count, _MOST_TAGS), layout.size):
            tag, kind, values, value = layout.unpack_from(data, entry)
            if kind in _NUMBERS:
                number = _NUMBERS[kind]
                place = entry + layout.size - room if values * struct.calcsize(number) <= room else value
                (value,) = struct.unpack_from(f"{order}{number}", data, place)
                found[tag] = value
            else:
                found[tag] = 0
    except (struct.error, OverflowError):
        pass  # cut off: what was there before counts
    return found


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as declared, before any rotation; None where they are not."""
    found = tags(data)
    width, height = found.get(_WIDTH, 0), found.get(_LENGTH, 0)
    return (width, height) if width and height else None


def has_huge_tiles(data: bytes) -> bool:
    """Whether a TIFF's tiles are together far larger than the picture that they make up."""
    found = tags(data)
    width, length = found.get(_WIDTH, 0), found.get(_LENGTH, 0)
    tile_width, tile_length = found.get(_TILE_WIDTH, 0), found.get(_TILE_LENGTH, 0)
    if not tile_width or not tile_length:
        return False
    tiles = -(-width // tile_width) * -(-length // tile_length)
    return tiles * tile_width * tile_length > max(_MOST_TILED, 4 * width * length)
