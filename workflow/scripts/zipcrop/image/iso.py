"""The ISO base media file format (ISO/IEC 14496-12): the container of HEIF, AVIF, Canon's CR3 and most videos."""

from __future__ import annotations

HEVC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
HEIF_BRANDS = HEVC_BRANDS | {b"mif1", b"msf1"}
"""The last two are AVIF's as well."""
AVIF_BRANDS = frozenset((b"avif", b"avis"))
CR3_BRANDS = frozenset((b"crx ",))


def is_iso(data: bytes) -> bool:
    """Whether content is such a container."""
    return data[4:8] == b"ftyp"


def brands(data: bytes) -> set[bytes]:
    """What a container says that it is; empty for any other content."""
    if not is_iso(data):
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    return {data[8:12], *(data[offset : offset + 4] for offset in range(16, end, 4))}
