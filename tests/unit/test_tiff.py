from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from zipcrop import tiff


def made(**options: bool) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (70, 50)).save(file, "tiff", **options)
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True])
def test_size(big: bool) -> None:
    data = made(big_tiff=big)
    assert tiff.is_tiff(data)
    assert tiff.size(data) == (70, 50)
    assert tiff.tags(data)[tiff.BITS_PER_SAMPLE] == 8
    assert tiff.tags(data)[256] == 70
    assert not tiff.has_huge_tiles(data)


def test_big_endian() -> None:
    tags = struct.pack(">HHIHHHHIHH", 256, 3, 1, 70, 0, 257, 3, 1, 50, 0)
    assert tiff.size(b"MM\0*" + struct.pack(">IH", 8, 2) + tags) == (70, 50)


def test_numbers_of_64_bits() -> None:
    tags = struct.pack("<HHQQHHQQ", 256, 16, 1, 70, 257, 16, 1, 50)
    assert tiff.size(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2) + tags) == (70, 50)


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"no TIFF"])
def test_what_declares_no_size(data: bytes) -> None:
    assert tiff.size(data) is None


def test_cut_off() -> None:
    data = made()
    assert all(tiff.size(data[:size]) in (None, (70, 50)) for size in range(len(data)))


def test_tiles_that_are_larger_than_the_picture() -> None:
    tags = struct.pack("<HHIIHHIIHHIIHHII", 256, 4, 1, 70, 257, 4, 1, 50, 322, 4, 1, 10_000, 323, 4, 1, 10_000)
    assert tiff.has_huge_tiles(b"II*\0" + struct.pack("<IH", 8, 4) + tags)
