"""The table of image formats, and what a member is by it. Nothing here imports OpenCV or NumPy.

A new format is a file beside this one with a `Format` in it, which is put into the table below.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from zipcrop.image.avif import AVIF
from zipcrop.image.bmp import BMP
from zipcrop.image.format import Evidence, starts_with
from zipcrop.image.format import Format as Format
from zipcrop.image.format import Header as Header
from zipcrop.image.format import ImageError as ImageError
from zipcrop.image.gif import GIF
from zipcrop.image.heif import HEIF
from zipcrop.image.jpeg import JPEG
from zipcrop.image.jpeg2000 import JPEG_2000
from zipcrop.image.netpbm import NETPBM
from zipcrop.image.png import PNG
from zipcrop.image.radiance import OTHER_RADIANCE, RADIANCE
from zipcrop.image.refused import BINARY, TEXTUAL
from zipcrop.image.sunraster import SUN_RASTER
from zipcrop.image.tiff import TIFF
from zipcrop.image.webp import WEBP

_table: list[Format] = []
"""A file is of the first format that it begins like."""
_by_suffix: dict[str, Format] = {}
_OTHER = Format("other", (), starts_with(b""), Evidence.NONE)
"""A file of no format of the table, of which OpenCV decides whether it can be decoded."""


def register(*formats: Format) -> None:
    """Puts `formats` at the end of the table."""
    _table.extend(formats)
    _by_suffix.update((suffix, format) for format in formats for suffix in format.suffixes)


register(*BINARY, JPEG, TIFF, PNG, BMP, JPEG_2000)
register(NETPBM, RADIANCE, OTHER_RADIANCE, *TEXTUAL)
# A text may begin like these: "GIF89a is a format".
register(HEIF, AVIF, WEBP, GIF, SUN_RASTER)

SUFFIXES = frozenset(_by_suffix)
"""Suffixes of image formats, lower case, with dot. Those that cannot be decoded here are in it, too."""


def has_image_suffix(name: str) -> bool:
    """Whether the suffix of a member's name is an image format's."""
    return _suffix(name) in _by_suffix


def has_suffix(name: str) -> bool:
    """Whether a member's name has a suffix at all."""
    return _suffix(name) != ""


def _suffix(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/").rstrip(". ")).suffix.lower()


def begins_like_image(data: bytes) -> bool:
    """Whether content begins so much like an image file that it needs no suffix to be one."""
    return any(format.evidence is Evidence.OF_IMAGE and format.begins(data) for format in _table)


def identify(name: str, data: bytes) -> Header:
    """Reads the header of the member called `name`, which is meant to be an image. Without a name, its content alone
    counts.

    Some headers are read by libheif or Pillow, which may crash or hang: call it where that is foreseen. Raises
    ImageError if the member is no image, or of a format that cannot be decoded here.
    """
    format = format_of(name, data)
    return Header(format, format.inspect(data))


def format_of(name: str, data: bytes) -> Format:
    """The format of a member, by its name and first bytes alone. Raises ImageError if that format is refused."""
    if not data:
        raise ImageError("the file is empty")
    format = _by_suffix.get(_suffix(name), _OTHER)
    if not format.suffix_suffices:
        found = next((candidate for candidate in _table if candidate.begins(data)), _OTHER)
        if not format.refusal or found.evidence is not Evidence.NONE or begins_like_image(data):
            format = found
    if format.refusal:
        raise ImageError(format.refusal)
    return format
