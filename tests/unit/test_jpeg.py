from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zipcrop import jpeg


def made(size: tuple[int, int] = (70, 50), mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), np.uint8)
    Image.fromarray(pixels, "RGBA").convert(mode).save(file, "jpeg", **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = made((16, 12)).decode("latin-1")
    return made(exif=exif, comment=made((30, 20)))


@pytest.mark.parametrize(
    "data",
    [
        made(),
        made(mode="L"),
        made(mode="CMYK"),
        made(progressive=True),
        made(restart_marker_blocks=1),
        with_thumbnail(),
        made()[:2] + b"\xff" * 1000 + b"\xff\x01\xff\xd0" + made()[2:],
        made()[:2] + b"\xff\xe1\xff\xff" + bytes(65533) + made()[2:],
    ],
    ids=["colour", "grey", "cmyk", "progressive", "restarts", "thumbnail", "fill bytes", "long segment"],
)
def test_frame(data: bytes) -> None:
    frame = jpeg.read_frame(data)
    assert frame.size == (70, 50)
    assert data[frame.scan : frame.scan + 2] == b"\xff\xda"
    assert not frame.arithmetic
    assert frame.single == (b"\xff\xc2" not in data)
    assert jpeg.end(data, frame) == len(data) - 2


def test_what_is_cut_off_ends_with_the_file() -> None:
    data = made()
    for size in range(len(data)):
        frame = jpeg.read_frame(data[:size])
        assert frame.scan <= size and jpeg.end(data[:size], frame) == size
        assert frame.size in (None, (70, 50))


def test_no_size_is_not_a_size_of_zero() -> None:
    data = bytearray(made())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 7] = bytes(2)
    assert jpeg.read_frame(bytes(data)).size is None
