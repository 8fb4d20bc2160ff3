"""HEIF, mostly HEIC, an iPhone's photos: their size and their pixels, by way of libheif."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zipcrop.image import iso
from zipcrop.image.format import BEYOND, CUT_OFF, DAMAGED, Details, Format, ImageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_LARGEST_PART = 64_000_000
"""Pixels of a tile, which libheif decodes in whole however small the image is that it is a tile of; and of all tiles
together, since a grid may name the same one many times."""
_MOST_BOXES = 100_000
"""Side by side. A photo has some dozens, with the items of a photo made of tiles some hundreds; each costs time."""


def _begins(data: bytes) -> bool:
    """Whether content is HEIF, but for AVIF, which is the same container with another codec inside."""
    brands = iso.brands(data)
    is_avif = not brands.isdisjoint(iso.AVIF_BRANDS)
    return not brands.isdisjoint(iso.HEVC_BRANDS if is_avif else iso.HEIF_BRANDS)


def inspect(data: bytes) -> Details:
    """Reads the size of the primary image, upright. Nothing is decoded."""
    try:
        width, height = _open(data).size
    except (ImageError, MemoryError):
        return Details(None)
    return Details((width, height))


def decode(data: bytes) -> ArrayLike:
    """The primary image, upright; 10 and 12 bits become 8 where it is no grey one.

    The container's own rotation and mirroring are applied, an EXIF orientation beside them is not: by the standard
    (ISO/IEC 23008-12) it only repeats them.

    Raises ImageError where the file is not whole or cannot be decoded, MemoryError.
    """
    image = _open(data)
    width, height = image.size
    _check(data, width * height)
    try:
        image.load()
    except Exception as error:
        raise _converted(error) from None
    pixels: ArrayLike = image
    return pixels


def _open(data: bytes) -> Any:
    """The primary image, a `pillow_heif.HeifImage`, not yet decoded. Raises ImageError, MemoryError."""
    import pillow_heif  # here, since most images need none of it

    options = pillow_heif.options
    options.DECODE_THREADS = 1  # the caller's threads are parallelism enough
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    try:
        file = pillow_heif.open_heif(data, bgr_mode=True)
        image = file[file.primary_index]
    except Exception as error:
        raise _converted(error) from None
    if not all(image.size):
        raise ImageError(DAMAGED)
    return image


def _converted(error: Exception) -> Exception:
    """What to raise for an error of pillow-heif, which comes as ValueError, RuntimeError, OSError and others."""
    text = str(error)
    if "Security limit" in text:
        return ImageError(BEYOND)
    if isinstance(error, (MemoryError, OSError)) or "Allocating" in text or "Out of memory" in text:
        return MemoryError(text)
    if "nsupported" in text:
        return ImageError("cannot be decoded: a kind of HEIF that is not supported")
    return ImageError(DAMAGED)


def _check(data: bytes, pixels: int) -> None:
    """Raises ImageError if the file is cut off, or has parts far larger than its primary image of `pixels` pixels.

    libheif leaves tiles black that are missing, or in part, and every photo of an iPhone is made of tiles.
    """
    try:
        meta = next((start, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"meta")
        boxes = {kind: (start, end) for kind, start, end in _boxes(data, meta[0] + 4, meta[1])}
        types = _item_types(data, *boxes[b"iinf"])
        extents = list(_extents(data, *boxes[b"iloc"], boxes.get(b"idat", (0, 0))))
        areas = _areas(data, boxes)
        areas += [_grid_area(data[start:end]) for item, start, end in extents if types.get(item) == b"grid"]
    except (StopIteration, KeyError, IndexError, struct.error):
        raise ImageError(DAMAGED) from None
    if any(end > len(data) for _, _, end in extents):
        raise ImageError(CUT_OFF)
    if sum(end - start for _, start, end in extents) > 4 * len(data):
        raise ImageError(BEYOND)
    if max(areas) > max(_LARGEST_PART, 4 * pixels):
        raise ImageError(BEYOND)
    # HEVC never has three zero bytes in a row but where a length follows; encoders may pad it with a few. What was
    # never written is blank by blocks of the disk.
    if any(types.get(item) == b"hvc1" and data.find(bytes(64), start, end) >= 0 for item, start, end in extents):
        raise ImageError("cannot be decoded: damaged or cut off: a part of it is blank")


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The first 100,000 boxes between `start` and `end`: kind, offsets of the body's start and end."""
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
    for kind, offset, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if kind == b"infe" and data[offset] in (2, 3):
            layout = ">HH4s" if data[offset] == 2 else ">IH4s"
            item, _, item_type = struct.unpack_from(layout, data, offset + 4)
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


def _areas(data: bytes, boxes: Mapping[bytes, tuple[int, int]]) -> list[int]:
    """Pixels of every size that is declared, and of all parts of images together."""
    properties = {kind: (start, end) for kind, start, end in _boxes(data, *boxes[b"iprp"])}
    declared = {}  # by their positions among the properties, from 1
    for position, (kind, start, _) in enumerate(_boxes(data, *properties[b"ipco"]), 1):
        if kind == b"ispe":
            width, height = struct.unpack_from(">II", data, start + 4)
            declared[position] = width * height
    of_items = {
        item: declared[position] for item, position in _associations(data, *properties[b"ipma"]) if position in declared
    }
    parts = sum(of_items.get(item, 0) for item in _parts(data, *boxes[b"iref"])) if b"iref" in boxes else 0
    return [*declared.values(), parts]


def _associations(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Which item has which property, as the box `ipma` has it: item, position of the property."""
    item_bytes, position_bytes = 2 if data[start] == 0 else 4, 2 if data[start + 3] & 1 else 1
    mask = 0x7FFF if position_bytes == 2 else 0x7F  # the highest bit says whether the property matters
    (entries,) = struct.unpack_from(">I", data, start + 4)
    offset = start + 8
    for _ in range(entries):
        item, count = int.from_bytes(data[offset : offset + item_bytes], "big"), data[offset + item_bytes]
        offset += item_bytes + 1
        if offset + count * position_bytes > end:
            raise struct.error
        for _ in range(count):
            yield item, int.from_bytes(data[offset : offset + position_bytes], "big") & mask
            offset += position_bytes


def _parts(data: bytes, start: int, end: int) -> Iterator[int]:
    """The items that images are made of, each as often as an image names it, as the box `iref` has it."""
    size, layout = (2, "H") if data[start] == 0 else (4, "I")
    for kind, offset, stop in _boxes(data, start + 4, end):
        if kind == b"dimg":
            (count,) = struct.unpack_from(">H", data, offset + size)
            if offset + size + 2 + count * size > stop:
                raise struct.error
            yield from struct.unpack_from(f">{count}{layout}", data, offset + size + 2)


def _grid_area(body: bytes) -> int:
    """Pixels that a grid of tiles declares for the image that it makes up."""
    width, height = struct.unpack_from(">II" if body[1:2] == b"\1" else ">HH", body, 4)
    return int(width * height)


HEIF = Format("HEIF", (".heic", ".heif", ".hif"), _begins, inspect=inspect, decode=decode)
