from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from helpers.effort import count_calls, time_limit
from helpers.photos import encoded
from helpers.project import ROOT
from zipcrop.image import codec, formats
from zipcrop.image.format import Details, Format, starts_with
from zipcrop.image.formats import ImageError


def found(name: str, data: bytes) -> str:
    """The name of the format, or why it is refused."""
    try:
        return formats.format_of(name, data).name
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "dir.x/a.jpeg", "a.heic", "a.webp ", "dir\\a.png"])
def test_image_suffixes(name: str) -> None:
    assert formats.has_image_suffix(name)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg/b", "a.jpg.txt", ".DS_Store"])
def test_other_suffixes(name: str) -> None:
    assert not formats.has_image_suffix(name)


@pytest.mark.parametrize("data", [b"", b"text", b"BMore text", b"%PDF-1.7", b"PK\3\4"])
def test_other_content(data: bytes) -> None:
    assert not formats.begins_like_image(data)


@pytest.mark.parametrize(
    ("brands", "expected"),
    [
        ([b"heic", b"mif1"], "HEIF"),
        ([b"mif1", b"mif1", b"heic"], "HEIF"),
        ([b"mif1", b"mif1"], "HEIF"),
        ([b"avif", b"mif1", b"miaf"], "AVIF"),
        ([b"mif1", b"mif1", b"avif"], "AVIF"),
        ([b"isom", b"mp42"], "is a video, not a photo"),
        ([b"miaf", b"heix"], "HEIF"),
        ([b"crx ", b"heix"], "camera RAW is not supported; export it as JPEG"),
    ],
)
def test_heif_is_told_from_avif_and_videos(brands: list[bytes], expected: str) -> None:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    data = (len(body) + 4).to_bytes(4, "big") + body + b"\0\0\0\x08mdatheic"
    assert found("photo", data) == expected


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", encoded("bus"), ""),
        ("a.jpg", b"", "the file is empty"),
        ("a.nef", b"", "the file is empty"),
        ("a.jpg", b"\xff", ""),
        ("a.svg", encoded("bus"), ""),
        ("a.svg", b"\xff", "SVG is not supported"),
        ("a.svg", b"%PDF-", "is a PDF document"),
        ("a.ppm", b"P3 1 1 255 1 2 3", ""),
        ("a.hdr", b"#?RADIANCE\n", ""),
        ("a.avif", encoded("bus", ".avif"), ""),
        ("a.NEF", encoded("bus"), "camera RAW is not supported"),
        ("a.svg", b"<svg/>", "SVG is not supported"),
        ("a.svg", b"\x1f\x8bcompressed", "is an archive"),
        ("a.jpg", b"free photos of everything", "is text"),
        ("a.gif", b"GIF89a is the name of a format", "is text"),
        ("a.svg", b"GIF89a is the name of a format", "is text"),
        ("a.tga", b"P6 1 1 255 abc", "TGA is not supported"),
        ("a.jpg", "\ufeff<?xml version='1.0'?><error>".encode(), "is text"),
        ("a.jpg", ("x" * 1023 + "ß").encode(), "is text"),
        ("a.jpg", b"\xff\xfe<\0h\0t\0m\0l\0", "is text"),
    ],
)
def test_what_is_refused_says_why(name: str, data: bytes, reason: str) -> None:
    try:
        formats.identify(name, data)
        refusal = ""
    except ImageError as error:
        refusal = str(error)
    assert refusal.startswith(reason)
    assert bool(refusal) == bool(reason)


@pytest.mark.parametrize(
    ("data", "name", "decoding_bytes"),
    [
        (encoded("bus", ".jp2", 0.1), "JPEG 2000", 19),
        (encoded("bus", ".avif", 0.1), "AVIF", 18),
        (encoded("bus", ".hdr", 0.1), "Radiance", 15),
        (b"#?RGBE\n", "Radiance", 15),
        (encoded("bus", ".jpg", 0.1), "JPEG", 9),
        (encoded("bus", ".png", 0.1), "PNG", 8),
        (encoded("bus", ".ppm", 0.1), "Netpbm", 8),
        (encoded("bus", ".ras", 0.1), "Sun raster", 8),
        (b"\xff no image", "other", 8),
    ],
)
def test_decoding_takes_memory_by_format(data: bytes, name: str, decoding_bytes: int) -> None:
    header = formats.identify("a.jpg", data)
    assert (header.format.name, header.decoding_bytes) == (name, decoding_bytes)
    assert header.can_reduce == (name == "JPEG")


def test_all_suffixes_are_known_that_ever_were() -> None:
    known = "jpg jpeg jpe jfif png apng webp bmp dib gif tif tiff avif heic heif hif jp2 j2k jpf jpx jxl pbm pgm ppm "
    known += "pnm pfm pxm sr ras hdr pic exr tga ico psd svg dng cr2 cr3 nef arw orf rw2 raf srw pef"
    assert {f".{suffix}" for suffix in known.split()} == formats.SUFFIXES


def test_what_is_heavy_is_imported_for_images_that_need_it_alone() -> None:
    code = (
        "import sys; from zipcrop.image import formats; formats.identify('a.jpg', b'\\xff\\xd8\\xff');"
        " sys.exit(bool({'pillow_heif', 'PIL', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "workflow/scripts")})


@pytest.fixture
def throw_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format of bare grey pixels, as its one file would have it."""
    monkeypatch.setattr(formats, "_table", formats._table.copy())
    monkeypatch.setattr(formats, "_by_suffix", formats._by_suffix.copy())

    @dataclass(frozen=True)
    class Bare(Details):
        def check(self, data: bytes) -> None:
            width, height = self.size or (0, 0)
            if len(data) < 8 + width * height:
                raise ImageError("cannot be decoded: cut off")

    def inspect(data: bytes) -> Bare:
        width, height = struct.unpack_from("<HH", data, 4)
        return Bare((width, height))

    def decode(data: bytes) -> np.ndarray:
        width, height = struct.unpack_from("<HH", data, 4)
        return np.frombuffer(data, np.uint8, width * height, 8).reshape(height, width)

    formats.register(Format("bare", (".bare",), starts_with(b"BARE"), inspect=inspect, decode=decode, decoding_bytes=4))


@pytest.mark.usefixtures("throw_away")
def test_a_new_format_is_one_file() -> None:
    data = b"BARE" + struct.pack("<HH", 3, 2) + bytes(range(250, 256))
    assert formats.has_image_suffix("a.BARE")
    assert formats.begins_like_image(data)
    header = formats.identify("a.jpg", data)
    assert (header.format.name, header.size, header.decoding_bytes, header.can_reduce) == ("bare", (3, 2), 4, False)
    pixels = codec.decode(data, header)
    assert pixels.dtype == np.uint8
    assert pixels[..., 1].tolist() == [[250, 251, 252], [253, 254, 255]]
    assert codec.decode(data, header, 2).shape == (1, 2, 3)
    with pytest.raises(ImageError, match="cut off"):
        codec.decode(data[:-1], header)


def test_there_is_no_throw_away_format() -> None:
    assert not formats.has_image_suffix("a.bare")


def heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (48, 64))).save(file, quality=90)
    return file.getvalue()


PNG = encoded("bus", ".png", 0.1)
HEIC = heic()


@pytest.mark.parametrize(
    "data",
    [
        b"<!---->" * 146,
        b"<!-- made -->\n" * 70 + b"<html>",
        b"\xff\xd8\xff" + bytes(20_000_000),
        b"\xff\xd8" + b"\xff" * 20_000_000,
        b"\xff\xd8" + b"\xff\x01" * 10_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\2" * 5_000_000,
        PNG[:33] + (b"\0\0\0\0tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))) * 1_700_000 + PNG[33:],
        HEIC[:28] + b"\0\0\0\x08free" * 3_500_000 + HEIC[28:],
        b"GIF89a\x10\0\x10\0\0\0\0" + bytes(20_000_000),
        b"P6\n" + b"#" * 20_000_000,
        b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"%%a\n" * 5_000_000,
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 5 + bytes(3) + b"\1\0\3\0\1" + bytes(20_000_000),
    ],
    ids=[
        "svg",
        "html",
        "jpeg zeros",
        "jpeg ones",
        "jpeg marks",
        "jpeg segments",
        "png",
        "heic",
        "gif",
        "ppm",
        "eps",
        "bigtiff",
    ],
)
def test_what_repeats_itself_takes_no_longer(data: bytes) -> None:
    def decode() -> None:
        with pytest.raises(ImageError):
            codec.decode(data, formats.identify("a.jpg", data))

    with time_limit():  # a regular expression that goes back and forth makes no calls
        assert count_calls(decode) < 2_500_000  # most for the million chunks of a PNG
