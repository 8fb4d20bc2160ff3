"""Netpbm's formats: PBM, PGM, PPM, PAM and PFM. They may be text."""

from __future__ import annotations

import re

from zipcrop.image.format import Evidence, Format

_BEGINNING = re.compile(rb"P[1-7fF]\s")

NETPBM = Format(
    "Netpbm",
    (".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".pxm"),
    lambda data: _BEGINNING.match(data) is not None,
    Evidence.NONE,
)
