"""Signatures: how files begin that more than one room has to tell apart."""

from __future__ import annotations

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
PDF = b"%PDF-"
ZIP_MEMBER = b"PK\3\4"
ZIP_END = b"PK\5\6"
RAR = b"Rar!\x1a\7"
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
GZIP = b"\x1f\x8b"
