"""HEIC and HEIF, an iPhone's photos: their size and their pixels, by way of libheif."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
"""With which such a file introduces itself; the last two are AVIF's as well."""
_AVIF_BRANDS = (b"avif", b"avis")
_LARGEST_PART = 64_000_000
"""Pixels of a tile, which libheif decodes in whole however small the picture is that it is a tile of; and of all tiles
together, since a grid may name the same one many times."""
_MOST_BOXES = 100_000
"""Side by side. A photo has some dozens, with the items of a photo made of tiles some hundreds; each costs time."""

_DAMAGED = "damaged, cut off or of an unsupported kind"


class HeifError(Exception):
    """A file that cannot be used; the message is the reason, in words."""


def brands(data: bytes) -> set[bytes]:
    """What a file of ISO boxes (HEIF, AVIF, MP4 and others) says that it is; empty for any other content."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def is_heif(data: bytes) -> bool:
    """Whether content is HEIF, but for AVIF, which is the same container with another codec inside."""
    found = brands(data)
    return not found.isdisjoint(BRANDS[:-2] if not found.isdisjoint(_AVIF_BRANDS) else BRANDS)


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the primary image in pixels, upright, as declared; None where the file cannot be read.
    Nothing is decoded."""
    try:
        image = _open(data)
    except (HeifError, MemoryError):
        return None
    return image.size[0], image.size[1]


def decode(data: bytes) -> np.ndarray:
    """The primary image as uint8 (H, W, 3) BGR, read-only, upright, without alpha; 10 and 12 bits become 8.

    The container's own rotation and mirroring are applied, an EXIF orientation beside them is not: by the standard
    (ISO/IEC 23008-12) it only repeats them.

    Raises HeifError where the file is not whole or cannot be decoded, MemoryError.
    """
    import cv2
    import numpy as np

    image = _open(data)
    width, height = image.size
    _check(data, width * height)
    try:
        pixels = np.asarray(image)
    except Exception as error:
        raise _converted(error) from None
    if pixels.shape[:2] != (height, width):
        raise HeifError(_DAMAGED)
    if pixels.dtype == np.uint16:  # grey of more than 8 bits, which libheif leaves as it is
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return pixels


def _open(data: bytes) -> Any:
    """The primary image, a `pillow_heif.HeifImage`, not yet decoded."""
    import pillow_heif

    options = pillow_heif.options
    options.DECODE_THREADS = 1  # the caller's threads are parallelism enough
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    try:
        file = pillow_heif.open_heif(data, bgr_mode=True)
        image = file[file.primary_index]
    except Exception as error:
        raise _converted(error) from None
    if not all(image.size):
        raise HeifError(_DAMAGED)
    return image


def _converted(error: Exception) -> Exception:
    """What to raise for an error of pillow-heif's, which come as ValueError, RuntimeError, OSError and others."""
    text = str(error)
    if "Security limit" in text:
        return HeifError("it declares more than it can hold")
    if isinstance(error, (MemoryError, OSError)) or "Allocating" in text or "Out of memory" in text:
        return MemoryError(text)
    if "nsupported" in text:
        return HeifError("a kind of HEIF that is not supported")
    return HeifError(_DAMAGED)


def _check(data: bytes, pixels: int) -> None:
    """Raises HeifError where the file is cut off, or has parts far larger than its primary image of `pixels` pixels.

    libheif leaves tiles black that are missing, or in part, and every photo of an iPhone is made of tiles.
    """
    try:
        meta = next((start, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"meta")
        boxes = {kind: (start, end) for kind, start, end in _boxes(data, meta[0] + 4, meta[1])}
        types = _item_types(data, *boxes[b"iinf"])
        extents = list(_extents(data, *boxes[b"iloc"], boxes.get(b"idat", (0, 0))))
        properties = {kind: (start, end) for kind, start, end in _boxes(data, *boxes[b"iprp"])}
        # By their places among the properties, from 1.
        declared = {
            place: struct.unpack_from(">II", data, start + 4)
            for place, (kind, start, _) in enumerate(_boxes(data, *properties[b"ipco"]), 1)
            if kind == b"ispe"
        }
        sizes: list[tuple[int, ...]] = list(declared.values())
        areas = {
            item: declared[place][0] * declared[place][1]
            for item, place in _associations(data, *properties[b"ipma"])
            if place in declared
        }
        parts = sum(areas.get(item, 0) for item in _parts(data, *boxes[b"iref"])) if b"iref" in boxes else 0
        sizes += [_grid_size(data[start:end]) for item, start, end in extents if types.get(item) == b"grid"]
    except (StopIteration, KeyError, IndexError, struct.error):
        raise HeifError(_DAMAGED) from None
    if any(end > len(data) for _, _, end in extents):
        raise HeifError("cut off")
    if sum(end - start for _, start, end in extents) > 4 * len(data):
        raise HeifError("it declares more than it can hold")
    if max(parts, *(width * height for width, height in sizes)) > max(_LARGEST_PART, 4 * pixels):
        raise HeifError("it declares more than it can hold")
    # HEVC never has three zero bytes in a row but where a length follows; encoders may pad it with a few. What was
    # never written is blank by blocks of the disk.
    if any(types.get(item) == b"hvc1" and data.find(bytes(64), start, end) >= 0 for item, start, end in extents):
        raise HeifError("damaged or cut off: a part of it is blank")


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between `start` and `end`: kind, where the body starts and where it ends. Of more than
    100,000, the first."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if length == 1:
            length = struct.unpack_from(">Q", data, start + 8)[0]
            header = 16
        elif length == 0:
            length = end - start
        if length < header:
            return
        yield kind, start + header, min(start + length, end)
        start += length


def _item_types(data: bytes, start: int, end: int) -> dict[int, bytes]:
    types = {}
    for kind, at, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if kind == b"infe" and data[at] in (2, 3):
            layout = ">HH4s" if data[at] == 2 else ">IH4s"
            item, _, item_type = struct.unpack_from(layout, data, at + 4)
            types[item] = item_type
    return types


def _extents(data: bytes, start: int, end: int, idat: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Where the items' pieces are, as the box `iloc` has it: item, start, end."""
    version = data[start]
    offset_bytes, length_bytes = divmod(data[start + 4], 16)
    base_bytes, index_bytes = divmod(data[start + 5], 16)
    at = start + 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > end:
            raise struct.error
        return int.from_bytes(data[at - size : at], "big")

    for _ in range(number(2 if version < 2 else 4)):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)  # always this file
        base = number(base_bytes)
        for _ in range(number(2)):
            if version:
                number(index_bytes)
            first = base + number(offset_bytes)
            length = number(length_bytes)
            if method < 2:
                first += idat[0] if method == 1 else 0
                yield item, first, first + length if length else len(data)


def _associations(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Which item has which property, as the box `ipma` has it: item, place of the property."""
    item_bytes, place_bytes = 2 if data[start] == 0 else 4, 2 if data[start + 3] & 1 else 1
    (entries,) = struct.unpack_from(">I", data, start + 4)
    at = start + 8
    for _ in range(entries):
        item, count = int.from_bytes(data[at : at + item_bytes], "big"), data[at + item_bytes]
        at += item_bytes + 1
        if at + count * place_bytes > end:
            raise struct.error
        for _ in range(count):
            place = int.from_bytes(data[at : at + place_bytes], "big")
            yield item, place & (0x7FFF if place_bytes == 2 else 0x7F)  # but for the bit that says whether it matters
            at += place_bytes


def _parts(data: bytes, start: int, end: int) -> Iterator[int]:
    """The items that pictures are made of, each as often as a picture names it, as the box `iref` has it."""
    size, layout = (2, "H") if data[start] == 0 else (4, "I")
    for kind, at, stop in _boxes(data, start + 4, end):
        if kind == b"dimg":
            (count,) = struct.unpack_from(">H", data, at + size)
            if at + size + 2 + count * size > stop:
                raise struct.error
            yield from struct.unpack_from(f">{count}{layout}", data, at + size + 2)


def _grid_size(body: bytes) -> tuple[int, ...]:
    """Width and height that a grid of tiles declares for the picture that it makes up."""
    return struct.unpack_from(">II" if body[1:2] == b"\1" else ">HH", body, 4)
