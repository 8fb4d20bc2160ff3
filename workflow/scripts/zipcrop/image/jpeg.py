"""JPEG: the markers before the pixels, how many scans there are, and whether all of them are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from zipcrop import signatures
from zipcrop.image.format import Details, Format, ImageError, starts_with

if TYPE_CHECKING:
    import numpy as np

_FILL = re.compile(rb"\xff++")
"""The byte before a marker's kind, which may be repeated."""
_ALONE = frozenset([0x00, 0x01, *range(0xD0, 0xDA)])
"""Kinds of markers that no length follows."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame's header, of any coding."""
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_END = bytes((0xFF, _END_OF_IMAGE))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends the data of a scan: no stuffed byte, restart or fill byte."""
_MOST_MARKERS = 100_000
"""Before the pixels, and again from there on. Four gigabytes of metadata would need fewer, and each costs time."""
_MOST_SCANS = 500
"""The limit of libjpeg-turbo's tools."""
_FEW_SCANS = 20
"""As many as photos of any size may have. Encoders make about ten, and 18 of CMYK."""
_MOST_SCANNED_PIXELS = 2_500_000_000
"""With more scans: pixels times scans, each of which is a pass over all pixels, even if it holds next to nothing.
Passes take up to 3 seconds per 10^9 pixels (measured with OpenCV 5.0)."""


@dataclass(frozen=True)
class Frame(Details):
    """What comes before a JPEG's pixels."""

    scan: int
    """Offset of its first start-of-scan marker; past the end if it has none."""
    single: bool
    """Whether no other scan follows."""
    arithmetic: bool
    """Whether its pixels are arithmetic-coded rather than Huffman-coded."""

    def check(self, data: bytes) -> None:
        """Raises ImageError if there are too many scans."""
        if self.single:
            return
        scans = read_scans(data, self).number
        width, height = self.size or (0, 0)
        if scans > _MOST_SCANS:
            raise ImageError(f"cannot be decoded: a JPEG of {scans} scans is refused as a bomb")
        if scans > _FEW_SCANS and scans * width * height > _MOST_SCANNED_PIXELS:
            raise ImageError(
                f"cannot be decoded: a JPEG of {width}x{height} pixels in {scans} scans is refused as a bomb"
            )

    def is_whole(self, data: bytes, image: np.ndarray, decode: Callable[[bytes], np.ndarray | None]) -> bool:
        """Whether there is an end-of-image marker, and enough before it.

        libjpeg takes zeros for the end of an image, and many a file that was cut off is filled up with them. What is
        missing before an end it makes grey, and says nothing. Then, and only then, more data before the end makes
        another image. (With arithmetic coding one cannot tell: an encoder may leave out the last data if they are
        zeros.)
        """
        if data.rfind(_END) <= self.scan:  # most often at the very end, and found at once
            return False
        corners = image[:: max(1, image.shape[0] - 1), :: max(1, image.shape[1] - 1)].reshape(-1, 3)
        if self.arithmetic or not (corners == 128).all(1).any():
            return True
        end = read_scans(data, self).end
        longer = decode(data[:end] + b"\x55\xaa\x33\x0f" * 1024 + data[end:])
        return longer is not None and longer.shape == image.shape and bool((longer == image).all())


def read_frame(data: bytes) -> Frame:
    """Follows a JPEG's markers one by one, since a thumbnail before the first scan may have scans of its own."""
    offset, coding, components, size = 2, 0, 0, None
    for _ in range(_MOST_MARKERS):
        # Decoders, too, look for the next one, whatever lies before it.
        start = data.find(b"\xff", offset)
        fill = _FILL.match(data, start) if start >= 0 else None
        if fill is None or fill.end() + 3 > len(data):
            break
        offset = fill.end() - 1
        kind = data[offset + 1]
        if kind in _ALONE:
            offset += 2
            continue
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if kind == _START_OF_SCAN:
            single = coding in _SEQUENTIAL and data[offset + 4 : offset + 5] == bytes([components])
            return Frame(size, offset, single, arithmetic=coding >= 0xC9)
        if length < 2:
            break  # no decoder goes on from here
        if kind in _FRAMES and offset + 9 < len(data):
            coding, components = kind, data[offset + 9]
            height = int.from_bytes(data[offset + 5 : offset + 7], "big")
            width = int.from_bytes(data[offset + 7 : offset + 9], "big")
            size = (width, height) if width and height else None
        offset += 2 + length
    return Frame(size, len(data), single=True, arithmetic=False)


class Scans(NamedTuple):
    """What a JPEG has from its first scan on."""

    number: int
    """How many scans there are, each of which is a pass of the decoder over all pixels."""
    end: int
    """Offset at which its pixels end: of the end-of-image marker, or the end of a file that is cut off."""


def read_scans(data: bytes, frame: Frame) -> Scans:
    """Follows a JPEG's markers from its first scan on, since tables and comments between scans may hold the bytes of
    any marker. If there are more than 100,000 markers, each counts as a scan.
    """
    if frame.single:
        end = data.find(_END, frame.scan)
        return Scans(1, end if end >= 0 else len(data))
    offset, number = frame.scan, 0
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(data, offset)
        if found is None:
            break
        offset, kind = found.start(), data[found.start() + 1]
        if kind == _END_OF_IMAGE:
            return Scans(number, offset)
        number += kind == _START_OF_SCAN
        # A marker that decoders do not know has no length, either.
        offset += 2 if kind < 0xC0 else 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    else:
        number = _MOST_MARKERS
    return Scans(number, len(data))


JPEG = Format(
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    starts_with(signatures.JPEG),
    inspect=read_frame,
    decoding_bytes=9,
    can_reduce=True,
)
