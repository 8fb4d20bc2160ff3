"""The selection: which files are taken for photos, by their names and beginnings. All others are skipped."""

from __future__ import annotations

from zipcrop.image import formats

_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_MACOS_METADATA = "macOS metadata"
_NOT_AN_IMAGE = "not an image"


class NotAnImage(Exception):
    """A file that is skipped; the message is the reason, in words."""


def reason_to_skip(name: str) -> str:
    """Why the file called `name`, a path with `/`, is skipped without reading it; empty where it may be a photo."""
    if name.startswith("__MACOSX/") or "/__MACOSX/" in name:
        return _MACOS_METADATA
    if formats.has_suffix(name) and not formats.has_image_suffix(name):
        return _NOT_AN_IMAGE
    return ""


def require_image(name: str, data: bytes) -> None:
    """Raises NotAnImage if the file called `name` is skipped for its content `data`."""
    if data.startswith(_APPLE_DOUBLE):
        raise NotAnImage(_MACOS_METADATA)
    if not formats.has_suffix(name) and not formats.begins_like_image(data):
        raise NotAnImage(_NOT_AN_IMAGE)
