"""JPEG 2000: its file format, and the bare codestream."""

from __future__ import annotations

from zipcrop.image.format import Format, starts_with

JPEG_2000 = Format(
    "JPEG 2000",
    (".jp2", ".j2k", ".jpf", ".jpx"),
    starts_with(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    decoding_bytes=19,
)
