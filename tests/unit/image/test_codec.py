from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from helpers.photos import encoded, photo
from helpers.project import ROOT
from zipcrop.image import codec, formats
from zipcrop.image.formats import ImageError


def decode(data: bytes, reduction: int = 1) -> np.ndarray:
    return codec.decode(data, formats.identify("", data), reduction)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif"])
def test_formats_are_known_by_content_and_decode(suffix: str) -> None:
    data = encoded("bus", suffix, scale=0.25)
    assert formats.begins_like_image(data)
    assert formats.identify("", data).size == (202, 270)
    decoded = decode(data)
    assert decoded.shape == (270, 202, 3)
    assert decoded.dtype == np.uint8
    reference = cv2.resize(photo("bus"), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.astype(int) - reference).mean() < (25 if suffix == ".gif" else 15)  # GIF has 256 colours


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
    decoded = decode(file.getvalue())
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded[..., 0].astype(int) - upright).mean() < 8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_pixel_format_becomes_bgr(mode: str) -> None:
    source = Image.fromarray(np.full((20, 30), 40_000, np.uint16)) if mode == "I;16" else Image.new(mode, (30, 20))
    file = io.BytesIO()
    source.save(file, "jpeg" if mode == "CMYK" else "png")
    decoded = decode(file.getvalue())
    assert decoded.shape == (20, 30, 3)
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xff no image", "not a known format"),
        (b"P6 40 30 255 too little", "not a known format"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "damaged, cut off or of an unsupported kind"),
        (encoded("zidane")[:3000], "damaged, cut off or of an unsupported kind"),
        (encoded("zidane", ".png")[:3000], "damaged, cut off or of an unsupported kind"),
    ],
)
def test_what_does_not_decode_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


def heic(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels[:, :, ::-1])).save(file, quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"tile_size": 128}], ids=["plain", "tiles"])
def test_heic(options: dict[str, object]) -> None:
    source = cv2.resize(photo("bus"), (405, 540), interpolation=cv2.INTER_AREA)
    data = heic(source, **options)
    assert formats.begins_like_image(data)
    assert formats.format_of("", data).name == "HEIF"
    assert formats.identify("", data).size == (405, 540)
    decoded = decode(data)
    assert decoded.shape == (540, 405, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - source).mean() < 5
    assert decode(data, 4).shape == (135, 102, 3)
    # What is done with a decoded image, which may be read-only.
    assert cv2.resize(decoded, (100, 100)).shape == (100, 100, 3)
    assert decode(codec.encode(decoded[10:50, 20:40], "jpg", 95)).shape == (40, 20, 3)


@pytest.mark.parametrize("options", [{}, {"tile_size": 128}], ids=["plain", "tiles"])
def test_a_heic_that_is_cut_off_is_no_half_picture(options: dict[str, object]) -> None:
    data = heic(cv2.resize(photo("bus"), (405, 540)), **options)
    for size in (*range(1, 3000, 97), *range(3000, len(data), 1999), len(data) - 1):
        with pytest.raises(ImageError):
            decode(data[:size])


@pytest.mark.parametrize("lie", [b"free" + bytes(4), b"ispe" + bytes(12)], ids=["none", "zero"])
def test_a_heic_that_declares_no_size_is_refused(lie: bytes) -> None:
    data = bytearray(heic(cv2.resize(photo("bus"), (404, 540))))
    at = data.index(b"ispe")
    data[at : at + len(lie)] = lie
    assert formats.identify("", bytes(data)).size is None
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("padding", [0, 1000])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}], ids=str)
def test_a_grey_edge_is_not_taken_for_missing_data(options: dict[str, bool], padding: int) -> None:
    picture = np.full((300, 300, 3), 128, np.uint8)
    picture[:150, :150] = cv2.resize(photo("bus"), (150, 150))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", **options)
    assert (decode(file.getvalue() + bytes(padding))[-1, -1] == 128).all()


SHORT_OF_MEMORY = """
import io, resource, sys
import cv2, numpy as np, pillow_heif
from PIL import Image
from zipcrop.image import codec, formats

kind = sys.argv[1]
picture = Image.new("RGB", (3000, 2000), (10, 200, 30))
file = io.BytesIO()
if kind == "heic":
    pillow_heif.from_pillow(picture).save(file, tile_size=512)
else:
    picture.save(file, kind, **({"speed": 10} if kind == "avif" else {}))
data = file.getvalue()
header = formats.identify("", data)
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
for call in (lambda: codec.decode(data, header), lambda: codec.encode(pixels, "webp", 90)):
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
    with pytest.raises(ImageError, match="20000x4 pixels cannot be written as webp"):
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
    assert decode(jpeg, reduction).shape == (height, width, 3)
    assert decode(turned.getvalue(), reduction).shape == (width, height, 3)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(decode(jpeg, reduction).ravel(), small.ravel())[0, 1] > 0.9
    with pytest.raises(ImageError):
        decode(jpeg[: len(jpeg) // 2], reduction)
