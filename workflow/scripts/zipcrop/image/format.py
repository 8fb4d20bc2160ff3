"""What a file format has to say of itself, so that everything else can treat all formats alike.

Each format has a file of its own here, with a `Format` in it; `formats` has the table of them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zipcrop.image import pillow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

DAMAGED = "cannot be decoded: damaged, cut off or of an unsupported kind"
CUT_OFF = "cannot be decoded: cut off"
BEYOND = "cannot be decoded: it declares more than it can hold"
"""Reasons that several formats give."""


class ImageError(Exception):
    """An image that cannot be used; the message is the reason, in words."""


@dataclass(frozen=True)
class Details:
    """The facts that were read from one image's header. Formats with checks of their own derive from it."""

    size: tuple[int, int] | None
    """Width and height in pixels as declared, before any EXIF rotation; None where they are not known."""

    @property
    def fault(self) -> str:
        """Why an image with such a header does not decode, in words."""
        return DAMAGED

    def check(self, data: bytes) -> None:
        """Called before decoding. Raises ImageError if the file is refused."""

    def is_whole(self, data: bytes, image: np.ndarray, decode: Callable[[bytes], np.ndarray | None]) -> bool:
        """Whether the decoded `image` is all that the file should hold; `decode` decodes another file like it."""
        return True


class Evidence(enum.Enum):
    """What it proves that a file begins as a format's files do."""

    NONE = enum.auto()
    """Little: the suffix of a format that is refused counts for more."""
    OF_FORMAT = enum.auto()
    """That a member that is meant to be an image is of this format, whatever its suffix."""
    OF_IMAGE = enum.auto()
    """The same, and that a member without a suffix is an image."""


@dataclass(frozen=True)
class Format:
    """A file format: one row of the table in `formats`."""

    name: str
    suffixes: tuple[str, ...]
    """In lower case, with the dot."""
    begins: Callable[[bytes], bool]
    """Whether a file, which is not empty, begins like one of this format."""
    evidence: Evidence = Evidence.OF_IMAGE
    refusal: str = ""
    """Why its files are not used, in words; empty if they are decoded."""
    suffix_suffices: bool = False
    """Whether its suffix alone makes a file one of this format, whatever the content."""
    inspect: Callable[[bytes], Details] = lambda data: Details(pillow.size(data))
    """Reads an image's header. Raises ImageError if the file is refused."""
    decoding_bytes: int = 8
    """The memory that decoding takes at its peak, the image included, in bytes per pixel. Measured, with OpenCV 5.0 and
    pillow-heif 1.8."""
    can_reduce: bool = False
    """Whether its decoder saves work when it makes an image of 1/2, 1/4 or 1/8 of the size."""
    decode: Callable[[bytes], ArrayLike] | None = None
    """Decodes a file whose header has been checked: the upright first image, uint8 or uint16, (H, W) grey, (H, W, 3)
    BGR or (H, W, 4) BGRA. Raises ImageError, MemoryError. None where OpenCV is the decoder."""


@dataclass(frozen=True)
class Header:
    """An image's format and header, known before it is decoded."""

    format: Format
    details: Details

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels as declared, before any EXIF rotation (a HEIC's own rotation is applied); None
        where they are not known.
        """
        return self.details.size

    @property
    def decoding_bytes(self) -> int:
        """See `Format`."""
        return self.format.decoding_bytes

    @property
    def can_reduce(self) -> bool:
        """See `Format`."""
        return self.format.can_reduce


def starts_with(*beginnings: bytes) -> Callable[[bytes], bool]:
    """A `Format.begins` for files that start with one of `beginnings`."""
    return lambda data: data.startswith(beginnings)


def is_riff(kind: bytes) -> Callable[[bytes], bool]:
    """A `Format.begins` for files that are RIFF containers of that `kind`, four bytes."""
    return lambda data: data[:4] == b"RIFF" and data[8:12] == kind
