"""Pillow, which knows the headers of formats that need no checks of their own. It decodes nothing here."""

from __future__ import annotations

import io
import warnings

_HEADER = 65536
"""Bytes in which an image's header must be. In some formats Pillow would look for it byte by byte to the end."""


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first 64 kB of a file declare them, before any EXIF rotation; None where Pillow does not
    know the format.
    """
    return size_of_whole(data[:_HEADER])


def size_of_whole(data: bytes) -> tuple[int, int] | None:
    """The same for formats of which Pillow needs the whole file, and takes it without looking at each byte."""
    from PIL import Image  # here, since most images need none of it

    Image.MAX_IMAGE_PIXELS = None  # the caller has a limit of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as header:
                return header.size
    except Exception:  # Pillow's plugins raise anything on damaged files; the decoder has the last word
        return None
