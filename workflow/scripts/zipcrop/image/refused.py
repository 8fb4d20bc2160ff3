"""What is no photo, or none that can be decoded here, although it is called like one: refused in words.

A member that is meant to be a photo and is not used must be called a failure, so that suffixes of such image formats
count as those of images.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from zipcrop import signatures
from zipcrop.image import iso
from zipcrop.image.format import Evidence, Format, is_riff, starts_with

_NOT_SUPPORTED = "is not supported; export it as JPEG"
CAMERA_RAW = f"camera RAW {_NOT_SUPPORTED}"
_VIDEO = "is a video, not a photo"
_TEXT = "is text, not a photo; its download may have failed"
_BEGINNING = 1024
"""Bytes by which text is told."""
_IMAGE_BRANDS = iso.HEIF_BRANDS | iso.AVIF_BRANDS | iso.CR3_BRANDS
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Possessive throughout: with backtracking, a hundred comments would take for ever.
_SVG = re.compile(
    rb"(?:\s++|<\?xml[^>]*+>|<!--(?:(?!-->).)*+-->|<!DOCTYPE svg[^>]*+>)*+<svg\b", re.IGNORECASE | re.DOTALL
)
_HTML = re.compile(rb"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body|title)\b", re.IGNORECASE | re.DOTALL)


def _never(data: bytes) -> bool:
    return False


def _raw(name: str, suffix: str, begins: Callable[[bytes], bool] = _never, *, is_image: bool = False) -> Format:
    """A camera's own format. Most are TIFF files with a small preview, which a decoder would take for the photo, so
    the suffix suffices.
    """
    suffixes = (suffix,) if suffix else ()
    evidence = Evidence.OF_IMAGE if is_image else Evidence.OF_FORMAT
    return Format(name, suffixes, begins, evidence, CAMERA_RAW, suffix_suffices=True)


def _image(name: str, suffix: str, begins: Callable[[bytes], bool], evidence: Evidence) -> Format:
    return Format(name, (suffix,), begins, evidence, f"{name} {_NOT_SUPPORTED}")


def _other(name: str, begins: Callable[[bytes], bool], refusal: str) -> Format:
    return Format(name, (), begins, Evidence.OF_FORMAT, refusal)


def _is_cr3(data: bytes) -> bool:
    return not iso.brands(data).isdisjoint(iso.CR3_BRANDS)


def _is_iso_video(data: bytes) -> bool:
    return iso.is_iso(data) and iso.brands(data).isdisjoint(_IMAGE_BRANDS)


def _is_quicktime(data: bytes) -> bool:
    """Whether content begins with any box, as old files do; the length before its name is no text."""
    return data[4:8] in _QUICKTIME_BOXES and data[0] < 0x20


def _is_svg(data: bytes) -> bool:
    return _SVG.match(data[:_BEGINNING]) is not None


def _is_html(data: bytes) -> bool:
    return _HTML.match(data[:_BEGINNING]) is not None


def _is_text(data: bytes) -> bool:
    if data.startswith((b"\xff\xfe<\0", b"\xfe\xff\0<")):
        return True  # UTF-16
    # The end may be in the middle of a character.
    text = data[:_BEGINNING].decode(errors="replace").rstrip("\ufffd")
    printable = all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
    return text != "" and printable and "\ufffd" not in text


BINARY = (
    _raw("Canon CR2", ".cr2"),  # like DNG, told from TIFF in `tiff`
    _raw("Canon CR3", ".cr3", _is_cr3, is_image=True),
    _raw("Adobe DNG", ".dng"),
    _raw("Nikon NEF", ".nef"),
    _raw("Sony ARW", ".arw"),
    _raw("Olympus ORF", ".orf", starts_with(b"IIRO", b"IIRS", b"MMOR")),
    _raw("Panasonic RW2", ".rw2", starts_with(b"IIU\0")),
    _raw("Fujifilm RAF", ".raf", starts_with(b"FUJIFILMCCD-RAW")),
    _raw("Samsung SRW", ".srw"),
    _raw("Pentax PEF", ".pef"),
    _raw("Sigma X3F", "", starts_with(b"FOVb")),
    _image("JPEG XL", ".jxl", starts_with(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), Evidence.OF_IMAGE),
    _image("a Photoshop document (PSD)", ".psd", starts_with(b"8BPS\0"), Evidence.OF_IMAGE),
    _image("OpenEXR", ".exr", starts_with(b"\x76\x2f\x31\x01"), Evidence.OF_FORMAT),
    _image("TGA", ".tga", _never, Evidence.NONE),  # has no beginning of its own
    _image("ICO", ".ico", _never, Evidence.NONE),
    _other("PDF", starts_with(signatures.PDF), "is a PDF document, not a photo"),
    _other("ZIP", starts_with(signatures.ZIP_MEMBER, signatures.ZIP_END), "is a ZIP archive, not a photo"),
    _other(
        "archive",
        starts_with(signatures.RAR, signatures.SEVEN_ZIP, signatures.GZIP),
        "is an archive, not a photo",
    ),
    _other("Matroska", starts_with(b"\x1a\x45\xdf\xa3"), _VIDEO),
    _other("MPEG", starts_with(b"\0\0\1\xba"), _VIDEO),
    _other("ISO video", _is_iso_video, _VIDEO),
    _other("AVI", is_riff(b"AVI "), _VIDEO),
    _other("QuickTime", _is_quicktime, _VIDEO),
)
"""What the first bytes give away. To be looked for first."""

TEXTUAL = (
    _image("SVG", ".svg", _is_svg, Evidence.NONE),
    Format("HTML", (), _is_html, Evidence.NONE, "is a web page, not a photo; its download may have failed"),
    Format("text", (), _is_text, Evidence.NONE, _TEXT),
)
"""To be looked for after images that may be text."""
