from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zipcrop.image import jpeg


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
    found = jpeg.read_scans(data, frame)
    assert found.end == len(data) - 2
    assert (found.number > 5) == (not frame.single)
    assert found.number >= 1


def test_what_is_cut_off_ends_with_the_file() -> None:
    data = made()
    for size in range(len(data)):
        frame = jpeg.read_frame(data[:size])
        assert frame.scan <= size
        assert jpeg.read_scans(data[:size], frame).end == size
        assert frame.size in (None, (70, 50))


def test_scans_are_counted_whatever_stands_between_them() -> None:
    data = made(progressive=True)
    frame = jpeg.read_frame(data)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    comment = b"\xff\xfe\0\x0a\xff\xd9\xff\xda\xff\xda\xff\xd9"
    count = jpeg.read_scans(data, frame).number
    assert count == 10
    for between in (b"", comment, b"\xff\xff", b"\xff\x01", b"\xff\x02", b"\0\xff\0\xff\xd3"):
        longer = data[:-2] + (between + scan) * 30 + b"\xff\xd9"
        for trailer in (b"", made(progressive=True), b"\xff\xda" * 1000):
            found = jpeg.read_scans(longer + trailer, frame)
            assert found == (count + 30, len(longer) - 2)
        assert jpeg.read_scans(longer[:-2], frame) == (count + 30, len(longer) - 2)


def test_markers_without_end_count_as_scans() -> None:
    data = made(progressive=True)
    odd = data[:-2] + b"\xff\xfe\0\2" * 200_000 + data[-2:]
    assert jpeg.read_scans(odd, jpeg.read_frame(odd)).number == 100_000


def test_no_size_is_not_a_size_of_zero() -> None:
    data = bytearray(made())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 7] = bytes(2)
    assert jpeg.read_frame(bytes(data)).size is None
