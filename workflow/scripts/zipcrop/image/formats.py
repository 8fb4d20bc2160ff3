"""Formats of images: a stand-in until they are one table."""

from __future__ import annotations

from dataclasses import dataclass

from zipcrop.image import codec as _codec
from zipcrop.image import jpeg
from zipcrop.image.codec import SUFFIXES as SUFFIXES
from zipcrop.image.codec import ImageError as ImageError
from zipcrop.image.codec import begins_like_image as begins_like_image
from zipcrop.image.codec import has_image_suffix as has_image_suffix
from zipcrop.image.codec import has_suffix as has_suffix


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded."""

    size: tuple[int, int] | None
    decoding_bytes: int
    can_reduce: bool


def identify(name: str, data: bytes) -> Header:
    """The header. Raises ImageError."""
    if reason := _codec.unsupported(name, data):
        raise ImageError(reason)
    return Header(_codec.header_size(data), _codec.decoding_bytes(data), jpeg.is_jpeg(data))
