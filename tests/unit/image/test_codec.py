from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from helpers.photos import encoded, photo
from helpers.project import ROOT
from zipcrop.image import codec, heif


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "dir.x/a.jpeg", "a.heic", "a.webp ", "dir\\a.png"])
def test_image_suffixes(name: str) -> None:
    assert codec.has_image_suffix(name)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg/b", "a.jpg.txt", ".DS_Store"])
def test_other_suffixes(name: str) -> None:
    assert not codec.has_image_suffix(name)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif"])
def test_formats_are_known_by_content_and_decode(suffix: str) -> None:
    data = encoded("bus", suffix, scale=0.25)
    assert codec.begins_like_image(data)
    assert codec.header_size(data) == (202, 270)
    decoded = codec.decode(data)
    assert (decoded.shape, decoded.dtype) == ((270, 202, 3), np.uint8)
    reference = cv2.resize(photo("bus"), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.astype(int) - reference).mean() < (25 if suffix == ".gif" else 15)  # GIF has 256 colours


@pytest.mark.parametrize("data", [b"", b"text", b"BMore text", b"%PDF-1.7", b"PK\3\4"])
def test_other_content(data: bytes) -> None:
    assert not codec.begins_like_image(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp", "tiff"])
def test_exif_orientation_is_applied(orientation: int, file_format: str) -> None:
    # Upright: a dark picture whose top left corner is bright.
    upright = np.zeros((48, 64), np.uint8)
    upright[:24, :32] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, file_format, exif=exif)
    decoded = codec.decode(file.getvalue())
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded[..., 0].astype(int) - upright).mean() < 8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_pixel_format_becomes_bgr(mode: str) -> None:
    source = Image.fromarray(np.full((20, 30), 40_000, np.uint16)) if mode == "I;16" else Image.new(mode, (30, 20))
    file = io.BytesIO()
    source.save(file, "jpeg" if mode == "CMYK" else "png")
    decoded = codec.decode(file.getvalue())
    assert (decoded.shape, decoded.dtype) == ((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no image", "not a known format"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "damaged, cut off or of an unsupported kind"),
        (encoded("zidane")[:3000], "damaged, cut off or of an unsupported kind"),
        (encoded("zidane", ".png")[:3000], "damaged, cut off or of an unsupported kind"),
    ],
)
def test_what_does_not_decode_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(codec.ImageError, match=reason):
        codec.decode(data)


def heic(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels[:, :, ::-1])).save(file, quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"tile_size": 128}], ids=["plain", "tiles"])
def test_heic(options: dict[str, object]) -> None:
    source = cv2.resize(photo("bus"), (405, 540), interpolation=cv2.INTER_AREA)
    data = heic(source, **options)
    assert codec.begins_like_image(data) and heif.is_heif(data)
    assert codec.header_size(data) == (405, 540)
    decoded = codec.decode(data)
    assert (decoded.shape, decoded.dtype) == ((540, 405, 3), np.uint8)
    assert np.abs(decoded.astype(int) - source).mean() < 5
    assert codec.decode(data, 4).shape == (135, 102, 3)
    # What is done with a decoded image, which may be read-only.
    assert cv2.resize(decoded, (100, 100)).shape == (100, 100, 3)
    assert codec.decode(codec.encode(decoded[10:50, 20:40], "jpg", 95)).shape == (40, 20, 3)


@pytest.mark.parametrize("options", [{}, {"tile_size": 128}], ids=["plain", "tiles"])
def test_a_heic_that_is_cut_off_is_no_half_picture(options: dict[str, object]) -> None:
    data = heic(cv2.resize(photo("bus"), (405, 540)), **options)
    for size in (*range(1, 3000, 97), *range(3000, len(data), 1999), len(data) - 1):
        with pytest.raises(codec.ImageError):
            codec.decode(data[:size])


@pytest.mark.parametrize("lie", [b"free" + bytes(4), b"ispe" + bytes(12)], ids=["none", "zero"])
def test_a_heic_that_declares_no_size_is_refused(lie: bytes) -> None:
    data = bytearray(heic(cv2.resize(photo("bus"), (404, 540))))
    at = data.index(b"ispe")
    data[at : at + len(lie)] = lie
    assert codec.header_size(bytes(data)) is None
    with pytest.raises(codec.ImageError, match="damaged"):
        codec.decode(bytes(data))


@pytest.mark.parametrize(
    ("brands", "expected"),
    [
        ([b"heic", b"mif1"], True),
        ([b"mif1", b"mif1", b"heic"], True),
        ([b"mif1", b"mif1"], True),
        ([b"avif", b"mif1", b"miaf"], False),
        ([b"mif1", b"mif1", b"avif"], False),
        ([b"isom", b"mp42"], False),
        ([b"miaf", b"heix"], True),
    ],
)
def test_heif_is_told_from_avif_and_videos(brands: list[bytes], expected: bool) -> None:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    data = (len(body) + 4).to_bytes(4, "big") + body + b"\0\0\0\x08mdatheic"
    assert heif.is_heif(data) == expected


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", encoded("bus"), ""),
        ("a.jpg", b"", ""),
        ("a.jpg", b"\xff", ""),
        ("a.svg", encoded("bus"), ""),
        ("a.ppm", b"P3 1 1 255 1 2 3", ""),
        ("a.hdr", b"#?RADIANCE\n", ""),
        ("a.avif", encoded("bus", ".avif"), ""),
        ("a.NEF", encoded("bus"), "camera RAW is not supported"),
        ("a.svg", b"<svg/>", "SVG is not supported"),
        ("a.svg", b"\x1f\x8bcompressed", "is an archive"),
        ("a.jpg", b"free photos of everything", "is text"),
        ("a.jpg", "\ufeff<?xml version='1.0'?><error>".encode(), "is text"),
        ("a.jpg", ("x" * 1023 + "ß").encode(), "is text"),
        ("a.jpg", b"\xff\xfe<\0h\0t\0m\0l\0", "is text"),
    ],
)
def test_unsupported(name: str, data: bytes, reason: str) -> None:
    found = codec.unsupported(name, data)
    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize("padding", [0, 1000])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}], ids=str)
def test_a_grey_edge_is_not_taken_for_missing_data(options: dict[str, bool], padding: int) -> None:
    picture = np.full((300, 300, 3), 128, np.uint8)
    picture[:150, :150] = cv2.resize(photo("bus"), (150, 150))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", **options)
    assert (codec.decode(file.getvalue() + bytes(padding))[-1, -1] == 128).all()


def test_pillow_heif_is_imported_for_heic_alone() -> None:
    code = (
        "import sys; from zipcrop.archive import reader; from zipcrop.image import codec;"
        " sys.exit(bool({'pillow_heif', 'PIL'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "workflow/scripts")})


SHORT_OF_MEMORY = """
import io, resource, sys
import cv2, numpy as np, pillow_heif
from PIL import Image
from zipcrop.image import codec

kind = sys.argv[1]
picture = Image.new("RGB", (3000, 2000), (10, 200, 30))
file = io.BytesIO()
if kind == "heic":
    pillow_heif.from_pillow(picture).save(file, tile_size=512)
else:
    picture.save(file, kind, **({"speed": 10} if kind == "avif" else {}))
data = file.getvalue()
pixels = np.asarray(picture).copy()
del picture, file
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10_000_000,) * 2)
held = []
try:
    while True:  # what was freed may be used again
        held.append(bytearray(4_000_000))
except MemoryError:
    pass
for call in (lambda: codec.decode(data), lambda: codec.encode(pixels, "webp", 90)):
    try:
        call()
        print("done")
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "avif", "heic"])
def test_too_little_memory_is_not_called_damage(kind: str) -> None:
    environment = {"PYTHONPATH": str(ROOT / "workflow/scripts"), "OPENCV_LOG_LEVEL": "OFF"}
    command = [sys.executable, "-c", SHORT_OF_MEMORY, kind]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["MemoryError", "MemoryError"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_encode(suffix: str) -> None:
    source = photo("bus")[:100, :80]
    data = codec.encode(source, suffix, 95)
    assert data == cv2.imencode(f".{suffix}", source, _parameters(suffix))[1].tobytes()


def _parameters(suffix: str) -> list[int]:
    return {"jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], "webp": [cv2.IMWRITE_WEBP_QUALITY, 95], "png": []}[suffix]


def test_a_crop_too_large_for_its_format_says_so() -> None:
    with pytest.raises(codec.ImageError, match="20000x4 pixels cannot be written as webp"):
        codec.encode(np.zeros((4, 20000, 3), np.uint8), "webp", 95)


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_jpegs_are_upright_and_rounded_up(reduction: int) -> None:
    pixels = cv2.resize(photo("bus"), (403, 301))
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(turned, "jpeg", exif=exif, quality=95)
    width, height = -(-403 // reduction), -(-301 // reduction)
    assert codec.decode(jpeg, reduction).shape == (height, width, 3)
    assert codec.decode(turned.getvalue(), reduction).shape == (width, height, 3)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(codec.decode(jpeg, reduction).ravel(), small.ravel())[0, 1] > 0.9
    with pytest.raises(codec.ImageError):
        codec.decode(jpeg[: len(jpeg) // 2], reduction)


PNG = encoded("bus", ".png", 0.1)
HEIC = heic(np.zeros((64, 48, 3), np.uint8))


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
    started = time.process_time()
    codec.header_size(data)
    with pytest.raises(codec.ImageError):
        if not codec.unsupported("a.jpg", data):
            codec.decode(data)
        raise codec.ImageError
    assert time.process_time() - started < 2
