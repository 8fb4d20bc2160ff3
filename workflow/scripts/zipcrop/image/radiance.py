"""Radiance HDR, whose header is text. Pillow does not know it: OpenCV has the limit of `limits.megapixels`, too."""

from __future__ import annotations

from zipcrop.image.format import Evidence, Format, starts_with

_DECODING_BYTES = 15

RADIANCE = Format("Radiance", (".hdr", ".pic"), starts_with(b"#?RADIANCE"), decoding_bytes=_DECODING_BYTES)
OTHER_RADIANCE = Format("Radiance", (), starts_with(b"#?"), Evidence.NONE, decoding_bytes=_DECODING_BYTES)
"""As other programs begin it, which name themselves there."""
