from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from support import encoded, photo

from zipcrop import image


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "dir.x/a.jpeg", "a.heic", "a.webp ", "dir\\a.png"])
def test_image_suffixes(name: str) -> None:
    assert image.has_image_suffix(name)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg/b", "a.jpg.txt", ".DS_Store"])
def test_other_suffixes(name: str) -> None:
    assert not image.has_image_suffix(name)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif"])
def test_formats_are_known_by_content_and_decode(suffix: str) -> None:
    data = encoded("bus", suffix, scale=0.25)
    assert image.begins_like_image(data)
    assert image.header_size(data) == (202, 270)
    decoded = image.decode(data)
    assert (decoded.shape, decoded.dtype) == ((270, 202, 3), np.uint8)
    reference = cv2.resize(photo("bus"), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.astype(int) - reference).mean() < (25 if suffix == ".gif" else 15)  # GIF has 256 colours


@pytest.mark.parametrize("data", [b"", b"text", b"BMore text", b"%PDF-1.7", b"PK\3\4"])
def test_other_content(data: bytes) -> None:
    assert not image.begins_like_image(data)


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
    decoded = image.decode(file.getvalue())
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded[..., 0].astype(int) - upright).mean() < 8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_pixel_format_becomes_bgr(mode: str) -> None:
    source = Image.fromarray(np.full((20, 30), 40_000, np.uint16)) if mode == "I;16" else Image.new(mode, (30, 20))
    file = io.BytesIO()
    source.save(file, "jpeg" if mode == "CMYK" else "png")
    decoded = image.decode(file.getvalue())
    assert (decoded.shape, decoded.dtype) == ((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no image", "not a known format"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC is not supported"),
        (encoded("zidane")[:3000], "damaged, cut off or of an unsupported kind"),
        (encoded("zidane", ".png")[:3000], "damaged, cut off or of an unsupported kind"),
    ],
)
def test_what_does_not_decode_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(image.ImageError, match=reason):
        image.decode(data)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_encode(suffix: str) -> None:
    source = photo("bus")[:100, :80]
    data = image.encode(source, suffix, 95)
    assert data == cv2.imencode(f".{suffix}", source, _parameters(suffix))[1].tobytes()


def _parameters(suffix: str) -> list[int]:
    return {"jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], "webp": [cv2.IMWRITE_WEBP_QUALITY, 95], "png": []}[suffix]


def test_a_crop_too_large_for_its_format_says_so() -> None:
    with pytest.raises(image.ImageError, match="20000x4 pixels cannot be written as webp"):
        image.encode(np.zeros((4, 20000, 3), np.uint8), "webp", 95)


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_jpegs_are_upright_and_rounded_up(reduction: int) -> None:
    pixels = cv2.resize(photo("bus"), (403, 301))
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(turned, "jpeg", exif=exif, quality=95)
    width, height = -(-403 // reduction), -(-301 // reduction)
    assert image.decode(jpeg, reduction).shape == (height, width, 3)
    assert image.decode(turned.getvalue(), reduction).shape == (width, height, 3)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(image.decode(jpeg, reduction).ravel(), small.ravel())[0, 1] > 0.9
    with pytest.raises(image.ImageError):
        image.decode(jpeg[: len(jpeg) // 2], reduction)
