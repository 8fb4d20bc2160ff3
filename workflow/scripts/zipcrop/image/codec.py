"""Images: which members are some, their size before decoding, decoding and encoding. Arrays are `uint8` BGR."""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from zipcrop.image import heif, jpeg, tiff

if TYPE_CHECKING:
    import numpy as np

_RAW = ("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "srw", "pef")
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
        *_RAW,
    ]
)
"""Suffixes of image formats, lower case, with dot. Those that cannot be decoded here are in it, too: a member that is
meant to be a photo and is not used must be called a failure."""

_RAW_SUFFIXES = frozenset(f".{suffix}" for suffix in _RAW)

_JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_MAGICS = (
    jpeg.MAGIC,
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    *tiff.MAGICS,
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"8BPS\0",
    b"#?RADIANCE",
    *_JPEG_XL,
)
_FTYP_BRANDS = (b"avif", b"avis", b"crx ", *heif.BRANDS)

_NOT_SUPPORTED = "is not supported; export it as JPEG"
_IS_RAW = f"camera RAW {_NOT_SUPPORTED}"
_CONTENTS = [
    (_JPEG_XL, f"JPEG XL {_NOT_SUPPORTED}"),
    ((b"8BPS\0",), f"a Photoshop document (PSD) {_NOT_SUPPORTED}"),
    ((b"\x76\x2f\x31\x01",), f"OpenEXR {_NOT_SUPPORTED}"),
    ((b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb"), _IS_RAW),
    ((b"%PDF-",), "is a PDF document, not a photo"),
    ((b"PK\3\4", b"PK\5\6"), "is a ZIP archive, not a photo"),
    ((b"Rar!\x1a\7", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b"), "is an archive, not a photo"),
    ((b"\x1a\x45\xdf\xa3", b"\0\0\1\xba"), "is a video, not a photo"),
]
"""What a content begins with that is no photo, or none that can be decoded here."""
_SUFFIX_NAMES = {
    ".svg": "SVG",
    ".jxl": "JPEG XL",
    ".psd": "a Photoshop document (PSD)",
    ".exr": "OpenEXR",
    ".tga": "TGA",
    ".ico": "ICO",
}
"""Formats that cannot be decoded here, and that their content does not always give away."""
_VIDEO_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Possessive throughout: with backtracking, a hundred comments would take for ever.
_SVG = re.compile(
    rb"(?:\s++|<\?xml[^>]*+>|<!--(?:(?!-->).)*+-->|<!DOCTYPE svg[^>]*+>)*+<svg\b", re.IGNORECASE | re.DOTALL
)
_HTML = re.compile(rb"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body|title)\b", re.IGNORECASE | re.DOTALL)
_TEXT_FORMATS = re.compile(rb"P[1-7fF]\s|#\?")
"""Images that are text, or begin so: those of Netpbm and Radiance."""

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 65536
"""Bytes in which the header of a picture must be. In some formats Pillow would look for it byte by byte to the end."""
_MOST_SCANS = 500
"""Of a JPEG; the limit is that of libjpeg-turbo's tools."""
_FEW_SCANS = 20
"""As many as photos of any size may have. Encoders make about ten, and 18 of CMYK."""
_MOST_SCANNED_PIXELS = 2_500_000_000
"""Of a JPEG of more scans: its pixels times its scans, each of which is a pass over all pixels, even if it holds next
to nothing. Passes take up to 3 seconds per 10^9 pixels (measured with OpenCV 5.0)."""
_MOST_CHUNKS = 1_000_000
"""Of a PNG. A large photo has some ten thousand; each costs time."""
_MOST_TEXTS = 100
"""Of a PNG's chunks of compressed text. 8 kB of them become 8 MB, which takes libpng 34 ms."""
_DAMAGED = "cannot be decoded: damaged, cut off or of an unsupported kind"


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
        or not heif.brands(data).isdisjoint(_FTYP_BRANDS)
    )


def unsupported(name: str, data: bytes) -> str:
    """Why a member that should be a photo, by its name or content, is none that can be decoded here, in words; empty
    if it may be one.

    Camera RAW is told by its suffix, too: most are TIFF files with a small preview, which a decoder would take for the
    photo.
    """
    suffix = _suffix(name)
    if not data:
        return ""  # which says more
    begin = data[:1024]
    brands = heif.brands(data)
    is_raw = (data[:4] == b"II*\0" and data[8:10] == b"CR") or b"crx " in brands or tiff.DNG_VERSION in tiff.tags(data)
    if suffix in _RAW_SUFFIXES or is_raw:
        return _IS_RAW
    for beginnings, reason in _CONTENTS:
        if data.startswith(beginnings):
            return reason
    if _is_video(begin, brands):
        return "is a video, not a photo"
    if suffix in _SUFFIX_NAMES and not begins_like_image(data):
        return f"{_SUFFIX_NAMES[suffix]} {_NOT_SUPPORTED}"
    if _SVG.match(begin):
        return f"SVG {_NOT_SUPPORTED}"
    if _HTML.match(begin):
        return "is a web page, not a photo; its download may have failed"
    if _is_text(begin) and not _TEXT_FORMATS.match(begin):
        return "is text, not a photo; its download may have failed"
    return ""


def _is_video(begin: bytes, brands: set[bytes]) -> bool:
    if brands:
        return brands.isdisjoint(_FTYP_BRANDS)
    # An old QuickTime file begins with any box; the length before its name is no text.
    return (begin[:4] == b"RIFF" and begin[8:12] == b"AVI ") or (begin[4:8] in _VIDEO_BOXES and begin[0] < 0x20)


def _is_text(begin: bytes) -> bool:
    if begin.startswith((b"\xff\xfe<\0", b"\xfe\xff\0<")):
        return True  # UTF-16
    # The end may be in the middle of a character.
    text = begin.decode(errors="replace").rstrip("\ufffd")
    printable = all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
    return text != "" and printable and "\ufffd" not in text


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the file's header declares them, before any EXIF rotation (a HEIC's own rotation is
    applied); None where the format is not known. Nothing is decoded."""
    if jpeg.is_jpeg(data):
        return jpeg.read_frame(data).size
    if tiff.is_tiff(data):
        return tiff.size(data)
    if heif.is_heif(data):
        return heif.size(data)
    if data.startswith(_PNG):
        # Pillow gives up on a text or profile that is too large.
        width, height = struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" and len(data) >= 24 else (0, 0)
        return (width, height) if width and height else None
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the caller has a limit of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data if _is_read_in_whole(data) else data[:_HEADER])) as header:
                return header.size
    except Exception:  # Pillow's plugins raise anything on damaged files; the decoder has the last word
        return None


def _is_read_in_whole(data: bytes) -> bool:
    """Whether Pillow needs the whole file for its header, and takes it without looking at each byte."""
    return data[:4] == b"RIFF" or heif.brands(data) != set()


def decoding_bytes(data: bytes) -> int:
    """The memory that decoding takes at its peak, the image included, in bytes per pixel. Measured, with OpenCV 5.0 and
    pillow-heif 1.8."""
    if data.startswith(_JPEG_2000):
        return 19
    if not heif.is_heif(data) and heif.brands(data) & {b"avif", b"avis"}:
        return 18
    if data.startswith(b"#?"):  # Radiance
        return 15
    return 9 if jpeg.is_jpeg(data) else 8


def decode(data: bytes, header: object = None, reduction: int = 1) -> np.ndarray:
    """The image in `data` as uint8 (H, W, 3) BGR, upright (EXIF orientation applied), first frame, without alpha. It
    may be read-only.

    A `reduction` of 2, 4 or 8 gives the sides divided by it, rounded up; for a JPEG that saves most of the work, since
    the decoder's inverse DCT makes fewer pixels in the first place.

    Raises ImageError where it cannot be decoded, in whole, MemoryError where there is not enough memory for it.
    """
    if not data:
        raise ImageError("the file is empty")
    if heif.is_heif(data):
        return _decode_heif(data, reduction)
    if data.startswith(_PNG) and not _holds_its_chunks(data):
        raise ImageError(_DAMAGED)
    if tiff.has_huge_tiles(data):
        raise ImageError("cannot be decoded: it declares more than it can hold")
    whole = not jpeg.is_jpeg(data) or _has_end(data)
    image = _decode(data, reduction)
    if image is None:
        _require_memory(header_size(data))
        raise ImageError(_why_not(data))
    if not whole or (jpeg.is_jpeg(data) and _lacks_data(image, data, reduction)):
        raise ImageError("cannot be decoded: cut off")
    return image


def _decode(data: bytes, reduction: int) -> np.ndarray | None:
    import cv2
    import numpy as np

    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags[reduction])
    except cv2.error as error:
        _raise_if_memory(error)
        message = str(error)
        if "MAX_IMAGE_PIXELS" in message:
            reason = "it declares more pixels than limits.megapixels allows"
        elif "MAX_IMAGE_WIDTH" in message or "MAX_IMAGE_HEIGHT" in message:
            reason = "it declares a side of more than 1048576 pixels"
        else:
            return None
        raise ImageError(f"cannot be decoded: {reason}") from None


def _decode_heif(data: bytes, reduction: int) -> np.ndarray:
    import cv2

    try:
        image = heif.decode(data)
    except heif.HeifError as error:
        _require_memory(heif.size(data))
        raise ImageError(f"cannot be decoded: {error}") from None
    if reduction == 1:
        return image
    height, width = image.shape[:2]
    return cv2.resize(image, (-(-width // reduction), -(-height // reduction)), interpolation=cv2.INTER_AREA)


def _raise_if_memory(error: Exception) -> None:
    import cv2

    if getattr(error, "code", None) == cv2.Error.StsNoMem:
        raise MemoryError(str(getattr(error, "err", error))) from None


def _require_memory(size: tuple[int, int] | None) -> None:
    """Raises MemoryError if what a decoder takes for an image of `size` is not to be had: most decoders do not say that
    this is why they failed."""
    import numpy as np

    if size is not None:
        np.empty(16 * size[0] * size[1], np.uint8)  # not touched, and so not really taken


def _why_not(data: bytes) -> str:
    if tiff.tags(data).get(tiff.BITS_PER_SAMPLE, 0) > 16:
        return "cannot be decoded: a TIFF of more than 16 bits per channel is not supported"
    return _DAMAGED if begins_like_image(data) else "cannot be decoded: not a known format"


def _holds_its_chunks(data: bytes) -> bool:
    """Whether no chunk of a PNG is longer than what is left of the file: OpenCV takes as much memory as a chunk says,
    up to 4 GiB, before it looks whether there is any more to read. Raises ImageError if it has too many texts."""
    at, texts = len(_PNG), 0
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        texts += kind in (b"zTXt", b"iTXt")
        if kind == b"IEND":
            break
    else:
        return False
    if texts > _MOST_TEXTS:
        raise ImageError(f"cannot be decoded: a PNG of {texts} compressed texts is refused as a bomb")
    return at <= len(data)


def _has_end(data: bytes) -> bool:
    """Whether a JPEG has an end-of-image marker after its pixels. Raises ImageError if it has too many scans.

    libjpeg takes zeros for the end of a picture, and many a file that was cut off is filled up with them.
    """
    frame = jpeg.read_frame(data)
    if not frame.single:
        scans = jpeg.read_scans(data, frame).number
        width, height = frame.size or (0, 0)
        if scans > _MOST_SCANS:
            raise ImageError(f"cannot be decoded: a JPEG of {scans} scans is refused as a bomb")
        if scans > _FEW_SCANS and scans * width * height > _MOST_SCANNED_PIXELS:
            raise ImageError(
                f"cannot be decoded: a JPEG of {width}x{height} pixels in {scans} scans is refused as a bomb"
            )
    return data.rfind(b"\xff\xd9") > frame.scan  # most often at the very end, and found at once


def _lacks_data(image: np.ndarray, data: bytes, reduction: int) -> bool:
    """Whether a JPEG has an end, but too little before it: libjpeg makes what is missing grey, and says nothing.

    Then, and only then, more data before the end makes another picture. (Of arithmetic coding one cannot tell: an
    encoder may leave out the last of its data if they are zeros.)
    """
    import numpy as np

    corners = image[:: max(1, image.shape[0] - 1), :: max(1, image.shape[1] - 1)].reshape(-1, 3)
    frame = jpeg.read_frame(data)
    if frame.arithmetic or not (corners == 128).all(1).any():
        return False
    end = jpeg.read_scans(data, frame).end
    longer = _decode(data[:end] + b"\x55\xaa\x33\x0f" * 1024 + data[end:], reduction)
    return longer is None or not np.array_equal(longer, image)


def encode(image: np.ndarray, suffix: str, quality: int) -> bytes:
    """`image`, uint8 (H, W, 3) BGR, as a file of the format `jpg`, `png` or `webp`; `quality` from 1 to 100, unused for
    `png`. Raises ImageError where the format does not hold an image of this size, MemoryError."""
    import cv2

    parameters = {
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        "png": [],
    }[suffix]
    height, width = image.shape[:2]
    try:
        done, data = cv2.imencode(f".{suffix}", image, parameters)
    except cv2.error as error:
        _raise_if_memory(error)
        done = False
    if not done:
        _require_memory((width, height))
        raise ImageError(f"a crop of {width}x{height} pixels cannot be written as {suffix}")
    return data.tobytes()
