"""Images: which members are some, their size before decoding, decoding and encoding. Arrays are `uint8` BGR."""

from __future__ import annotations

import io
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "apng",
        "webp",
        "bmp",
        "dib",
        "gif",
        "tif",
        "tiff",
        "avif",
        "heic",
        "heif",
        "hif",
        "jp2",
        "j2k",
        "jpf",
        "jpx",
        "jxl",
        "pbm",
        "pgm",
        "ppm",
        "pnm",
        "pfm",
        "pxm",
        "sr",
        "ras",
        "hdr",
        "pic",
        "exr",
        "tga",
        "ico",
        "psd",
        "svg",
        "dng",
        "cr2",
        "cr3",
        "nef",
        "arw",
        "orf",
        "rw2",
        "raf",
        "srw",
        "pef",
    ]
)
"""Suffixes of image formats, lower case, with dot. Those that cannot be decoded here are in it, too: a member that is
meant to be a photo and is not used must be called a failure."""

_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP  ")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_FTYP_BRANDS = (b"avif", b"avis", *_HEIC_BRANDS)


class ImageError(Exception):
    """An image that cannot be used; the message is the reason, in words."""


def has_image_suffix(name: str) -> bool:
    """Whether the suffix of a member's name is an image format's."""
    return _suffix(name) in SUFFIXES


def has_suffix(name: str) -> bool:
    """Whether a member's name has a suffix at all."""
    return _suffix(name) != ""


def _suffix(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/").rstrip(". ")).suffix.lower()


def begins_like_image(data: bytes) -> bool:
    """Whether content begins like an image file."""
    return (
        data.startswith(_MAGICS)
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or (data[:2] == b"BM" and data[6:10] == bytes(4))
        or (data[4:8] == b"ftyp" and data[8:12] in _FTYP_BRANDS)
    )


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the file's header declares them, before any EXIF rotation; None where Pillow does
    not know the format. Nothing is decoded."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the caller has a limit of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as header:
                return header.size
    except Exception:  # Pillow's plugins raise anything on damaged files; the decoder has the last word
        return None


def is_jpeg(data: bytes) -> bool:
    """Whether content is JPEG, which can be decoded at a fraction of its size."""
    return data.startswith(b"\xff\xd8\xff")


def decode(data: bytes, reduction: int = 1) -> np.ndarray:
    """The image in `data` as uint8 (H, W, 3) BGR, upright (EXIF orientation applied), first frame, without alpha.

    A `reduction` of 2, 4 or 8 gives the sides divided by it, rounded up; for a JPEG that saves most of the work, since
    the decoder's inverse DCT makes fewer pixels in the first place.

    Raises ImageError where it cannot be decoded, in whole.
    """
    import cv2
    import numpy as np

    if not data:
        raise ImageError("the file is empty")
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags[reduction])
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {str(error.err or error).strip()}") from None
    if image is None:
        if data[8:12] in _HEIC_BRANDS:
            raise ImageError("cannot be decoded: HEIC is not supported")
        known = begins_like_image(data)
        raise ImageError(
            "cannot be decoded: damaged, cut off or of an unsupported kind"
            if known
            else "cannot be decoded: not a known format"
        )
    return image


def encode(image: np.ndarray, suffix: str, quality: int) -> bytes:
    """`image`, uint8 (H, W, 3) BGR, as a file of the format `jpg`, `png` or `webp`; `quality` from 1 to 100, unused for
    `png`. Raises ImageError where the format does not hold an image of this size."""
    import cv2

    parameters = {
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        "png": [],
    }[suffix]
    height, width = image.shape[:2]
    try:
        done, data = cv2.imencode(f".{suffix}", image, parameters)
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"a crop of {width}x{height} pixels cannot be written as {suffix}")
    return data.tobytes()
