"""TIFF, classic and BigTIFF. Only the first image counts."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from zipcrop.image.format import BEYOND, Details, Format, ImageError, starts_with
from zipcrop.image.refused import CAMERA_RAW

_CLASSIC, _BIG = (b"II*\0", b"MM\0*"), (b"II+\0", b"MM\0+")
_DNG_VERSION, _BITS_PER_SAMPLE = 50706, 258
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
_MOST_TAGS = 65535
"""The classic kind cannot have more; a BigTIFF could declare 2^64."""
_MOST_TILED = 64_000_000
"""Pixels of all tiles, which OpenCV decodes in whole however small the image is that they make up."""


@dataclass(frozen=True)
class Tiff(Details):
    """The header of a TIFF."""

    tags: Mapping[int, int]
    """See `read_tags`."""

    @property
    def fault(self) -> str:
        """See `Details`."""
        if self.tags.get(_BITS_PER_SAMPLE, 0) > 16:
            return "cannot be decoded: a TIFF of more than 16 bits per channel is not supported"
        return super().fault

    def check(self, data: bytes) -> None:
        """Raises ImageError if the tiles are together far larger than the image that they make up."""
        width, length = self.tags.get(_WIDTH, 0), self.tags.get(_LENGTH, 0)
        tile_width, tile_length = self.tags.get(_TILE_WIDTH, 0), self.tags.get(_TILE_LENGTH, 0)
        if not tile_width or not tile_length:
            return
        tiles = -(-width // tile_width) * -(-length // tile_length)
        if tiles * tile_width * tile_length > max(_MOST_TILED, 4 * width * length):
            raise ImageError(BEYOND)


def inspect(data: bytes) -> Tiff:
    """Reads the tags. Raises ImageError if they are those of camera RAW."""
    tags = read_tags(data)
    if _DNG_VERSION in tags or (data[8:10] == b"CR" and data[:4] == _CLASSIC[0]):  # DNG; CR2
        raise ImageError(CAMERA_RAW)
    width, length = tags.get(_WIDTH, 0), tags.get(_LENGTH, 0)
    return Tiff((width, length) if width and length else None, tags)


def read_tags(data: bytes) -> dict[int, int]:
    """The tags of a TIFF file's first image, each with its first value where that is a number of 16 to 64 bits, else
    0.
    """
    order = "<" if data[:2] == b"II" else ">"
    # BigTIFF, or the classic kind.
    offset, pointer, counter = (8, "Q", "Q") if data.startswith(_BIG) else (4, "I", "H")
    layout = struct.Struct(f"{order}HH{pointer}{pointer}")
    room = struct.calcsize(pointer)
    found = {}
    try:
        (start,) = struct.unpack_from(f"{order}{pointer}", data, offset)
        (count,) = struct.unpack_from(f"{order}{counter}", data, start)
        start += struct.calcsize(counter)
        for entry in range(start, start + layout.size * min(count, _MOST_TAGS), layout.size):
            tag, kind, values, value = layout.unpack_from(data, entry)
            if kind in _NUMBERS:
                number = _NUMBERS[kind]
                offset = entry + layout.size - room if values * struct.calcsize(number) <= room else value
                (value,) = struct.unpack_from(f"{order}{number}", data, offset)
                found[tag] = value
            else:
                found[tag] = 0
    except (struct.error, OverflowError):
        pass  # cut off: what was there before counts
    return found


TIFF = Format("TIFF", (".tif", ".tiff"), starts_with(*_CLASSIC, *_BIG), inspect=inspect)
