"""BMP."""

from __future__ import annotations

from zipcrop.image.format import Format

BMP = Format("BMP", (".bmp", ".dib"), lambda data: data[:2] == b"BM" and data[6:10] == bytes(4))
"""Four bytes are reserved, and zero: `BM` alone may be the beginning of a text."""
