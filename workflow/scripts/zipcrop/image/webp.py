"""WebP."""

from __future__ import annotations

from zipcrop.image import pillow
from zipcrop.image.format import Details, Format, is_riff

WEBP = Format(
    "WebP",
    (".webp",),
    is_riff(b"WEBP"),
    inspect=lambda data: Details(pillow.size_of_whole(data)),
)
