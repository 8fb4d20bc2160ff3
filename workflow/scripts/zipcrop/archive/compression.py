"""The compression methods of ZIP members (APPNOTE, section 4.4.5)."""

from __future__ import annotations

import bz2
import lzma
import zlib

_STORED, _DEFLATE, _BZIP2, _LZMA = 0, 8, 12, 14
_READABLE = frozenset((_STORED, _DEFLATE, _BZIP2, _LZMA))
AES = 99
"""The method of an encrypted member; it says nothing of the compression."""
_NAMES = {
    1: "shrink",
    2: "reduce",
    3: "reduce",
    4: "reduce",
    5: "reduce",
    6: "implode",
    9: "deflate64",
    16: "z/OS CMPSC",
    18: "IBM TERSE",
    19: "IBM LZ77",
    20: "zstd",
    93: "zstd",
    94: "MP3",
    95: "xz",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}


class DamagedData(Exception):
    """Bytes that cannot be decompressed; the message is the decompressor's."""


def unreadable(method: int) -> str:
    """The name of the method if it cannot be read here; empty if it can."""
    return "" if method in _READABLE else _NAMES.get(method, f"method {method}")


def decompress(data: bytes, method: int, most: int) -> bytes:
    """Decompresses `data`, compressed by the readable `method`, up to its first `most` bytes (at least 1).

    Raises DamagedData.
    """
    if method == _STORED:
        return data[:most]
    try:
        if method == _DEFLATE:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
        if method == _BZIP2:
            return bz2.BZ2Decompressor().decompress(data, most)
        return _decompress_lzma(data, most)
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:  # bzip2 raises an OSError for damaged data
        raise DamagedData(str(error)) from None


def _decompress_lzma(data: bytes, most: int) -> bytes:
    """APPNOTE, section 5.8: version, length of the properties, the properties as LZMA's SDK has them, the stream."""
    length = int.from_bytes(data[2:4], "little")
    properties = data[4 : 4 + length]
    if len(properties) != 5 or properties[0] >= 9 * 5 * 5:
        raise DamagedData("no LZMA properties")
    rest, literal_context_bits = divmod(properties[0], 9)
    position_bits, literal_position_bits = divmod(rest, 5)
    lzma1 = {
        "id": lzma.FILTER_LZMA1,
        # It may declare 4 GiB, which would be allocated. No more than `most` bytes are ever looked back at.
        "dict_size": min(max(int.from_bytes(properties[1:], "little"), 4096), max(most, 4096)),
        "lc": literal_context_bits,
        "lp": literal_position_bits,
        "pb": position_bits,
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma1]).decompress(data[4 + length :], most)
