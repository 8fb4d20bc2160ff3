"""GIF."""

from __future__ import annotations

from zipcrop.image.format import Format, starts_with

GIF = Format("GIF", (".gif",), starts_with(b"GIF87a", b"GIF89a"))
