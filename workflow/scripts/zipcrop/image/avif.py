"""AVIF, which is HEIF's container with AV1 inside."""

from __future__ import annotations

from zipcrop.image import iso, pillow
from zipcrop.image.format import Details, Format

AVIF = Format(
    "AVIF",
    (".avif",),
    lambda data: not iso.brands(data).isdisjoint(iso.AVIF_BRANDS),
    inspect=lambda data: Details(pillow.size_of_whole(data)),
    decoding_bytes=18,
)
"""To be looked for after HEIF, whose files may name AVIF's brands, too."""
