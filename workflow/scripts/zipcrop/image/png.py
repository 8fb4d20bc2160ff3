"""PNG, and APNG, of which the first frame counts."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from zipcrop import signatures
from zipcrop.image.format import DAMAGED, Details, Format, ImageError, starts_with

_MOST_CHUNKS = 1_000_000
"""A large photo has some ten thousand; each costs time."""
_MOST_TEXTS = 100
"""Chunks of compressed text. 8 kB of them become 8 MB, which takes libpng 34 ms."""


@dataclass(frozen=True)
class Png(Details):
    """The header of a PNG."""

    def check(self, data: bytes) -> None:
        """Raises ImageError if a chunk is longer than what is left of the file, since OpenCV takes as much memory as a
        chunk declares, up to 4 GiB, before it looks whether there is more to read; or if there are too many texts.
        """
        offset, texts = len(signatures.PNG), 0
        for _ in range(_MOST_CHUNKS):
            if offset + 8 > len(data):
                break
            length, kind = struct.unpack_from(">I4s", data, offset)
            offset += 12 + length
            texts += kind in (b"zTXt", b"iTXt")
            if kind == b"IEND":
                break
        else:
            raise ImageError(DAMAGED)
        if texts > _MOST_TEXTS:
            raise ImageError(f"cannot be decoded: a PNG of {texts} compressed texts is refused as a bomb")
        if offset > len(data):
            raise ImageError(DAMAGED)


def inspect(data: bytes) -> Png:
    """Reads the size, which Pillow does not where a text or profile is too large."""
    width, height = struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" and len(data) >= 24 else (0, 0)
    return Png((width, height) if width and height else None)


PNG = Format("PNG", (".png", ".apng"), starts_with(signatures.PNG), inspect=inspect)
