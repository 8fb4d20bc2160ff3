"""Sun raster."""

from __future__ import annotations

from zipcrop.image.format import Evidence, Format, starts_with

SUN_RASTER = Format("Sun raster", (".sr", ".ras"), starts_with(b"\x59\xa6\x6a\x95"), Evidence.NONE)
