"""Decoding and encoding. Arrays of pixels are uint8 (H, W, 3) BGR."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from zipcrop.image.format import CUT_OFF, DAMAGED, Evidence, Header, ImageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_READ_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def decode(data: bytes, header: Header, reduction: int = 1) -> np.ndarray:
    """The image in `data`, whose `header` is that of `formats.identify`, upright (EXIF orientation applied), first
    frame, without alpha. It may be read-only.

    A `reduction` of 2, 4 or 8 gives the sides divided by it, rounded up; where `header.can_reduce`, that saves most of
    the work, since the decoder makes fewer pixels in the first place.

    Raises ImageError if it cannot be decoded, in whole, MemoryError if there is not enough memory for it.
    """
    header.details.check(data)
    if header.format.decode is not None:
        return _reduced(_decode_without_opencv(data, header, header.format.decode), reduction)
    image = _decode_with_opencv(data, reduction)
    if image is None:
        _require_memory(header.size)
        if header.format.evidence is Evidence.NONE:
            raise ImageError("cannot be decoded: not a known format")
        raise ImageError(header.details.fault)
    if not header.details.is_whole(data, image, functools.partial(_decode_with_opencv, reduction=reduction)):
        raise ImageError(CUT_OFF)
    return image


def _decode_with_opencv(data: bytes, reduction: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), _READ_FLAGS[reduction])
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


def _decode_without_opencv(data: bytes, header: Header, decode: Callable[[bytes], ArrayLike]) -> np.ndarray:
    try:
        pixels = np.asarray(decode(data))
        if header.size is not None and pixels.shape[1::-1] != header.size:
            raise ImageError(DAMAGED)
    except ImageError:
        _require_memory(header.size)
        raise
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    elif pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return pixels


def _reduced(image: np.ndarray, reduction: int) -> np.ndarray:
    if reduction == 1:
        return image
    height, width = image.shape[:2]
    smaller: np.ndarray = cv2.resize(
        image, (-(-width // reduction), -(-height // reduction)), interpolation=cv2.INTER_AREA
    )
    return smaller


def _raise_if_memory(error: Exception) -> None:
    if getattr(error, "code", None) == cv2.Error.StsNoMem:
        raise MemoryError(str(getattr(error, "err", error))) from None


def _require_memory(size: tuple[int, int] | None) -> None:
    """Raises MemoryError if a decoder's memory for an image of `size` is not to be had: most decoders do not say that
    this is why they failed.
    """
    if size is not None:
        np.empty(16 * size[0] * size[1], np.uint8)  # not touched, and so not really taken


def encode(image: np.ndarray, suffix: str, quality: int) -> bytes:
    """`image` as a file of the format `jpg`, `png` or `webp`; `quality` from 1 to 100, unused for `png`. Raises
    ImageError if the format does not hold an image of this size, MemoryError.
    """
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
