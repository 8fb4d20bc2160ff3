from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from zipcrop.image import tiff
from zipcrop.image.formats import ImageError


def made(**options: bool) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (70, 50)).save(file, "tiff", **options)
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True])
def test_size(big: bool) -> None:
    data = made(big_tiff=big)
    assert tiff.TIFF.begins(data)
    header = tiff.inspect(data)
    assert header.size == (70, 50)
    assert (header.tags[256], header.tags[258]) == (70, 8)
    header.check(data)


def test_big_endian() -> None:
    tags = struct.pack(">HHIHHHHIHH", 256, 3, 1, 70, 0, 257, 3, 1, 50, 0)
    assert tiff.inspect(b"MM\0*" + struct.pack(">IH", 8, 2) + tags).size == (70, 50)


def test_numbers_of_64_bits() -> None:
    tags = struct.pack("<HHQQHHQQ", 256, 16, 1, 70, 257, 16, 1, 50)
    assert tiff.inspect(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2) + tags).size == (70, 50)


@pytest.mark.parametrize("data", [b"II*\0", b"II*\0\xff\xff\xff\xff"])
def test_what_declares_no_size(data: bytes) -> None:
    assert tiff.inspect(data).size is None


def test_cut_off() -> None:
    data = made()
    assert all(tiff.inspect(data[:size]).size in (None, (70, 50)) for size in range(4, len(data)))


def tiled(width: int, length: int, tile_width: int, tile_length: int) -> bytes:
    tags = {256: width, 257: length, 322: tile_width, 323: tile_length}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, 4) + entries


@pytest.mark.parametrize(
    "sizes", [(70, 50, 10_000, 10_000), (1_000_000, 1, 16, 1_000_000), (2**32 - 1, 1, 1, 2**32 - 1)]
)
def test_tiles_that_are_larger_than_the_image(sizes: tuple[int, int, int, int]) -> None:
    data = tiled(*sizes)
    with pytest.raises(ImageError, match="declares more than it can hold"):
        tiff.inspect(data).check(data)


@pytest.mark.parametrize(
    "sizes", [(70, 50, 512, 512), (20_000, 15_000, 256, 256), (100_000, 500, 512, 512), (70, 50, 0, 0)]
)
def test_tiles_as_they_are_found(sizes: tuple[int, int, int, int]) -> None:
    data = tiled(*sizes)
    tiff.inspect(data).check(data)


@pytest.mark.parametrize(
    "data", [b"II*\0\x10\0\0\0CR\2\0", b"MM\0*" + struct.pack(">IHHHII", 8, 1, 50706, 1, 4, 0)], ids=["CR2", "DNG"]
)
def test_camera_raw_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="camera RAW is not supported"):
        tiff.inspect(data)


@pytest.mark.parametrize(("bits", "fault"), [(8, "damaged, cut off"), (32, "more than 16 bits")])
def test_why_it_does_not_decode(bits: int, fault: str) -> None:
    data = b"II*\0" + struct.pack("<IHHHII", 8, 1, 258, 3, 1, bits)
    assert fault in tiff.inspect(data).fault
