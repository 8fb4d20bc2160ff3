from __future__ import annotations

import io
import zipfile

import pytest

from zipcrop.archive import compression

CONTENT = bytes(range(256)) * 300


@pytest.mark.parametrize("method", [0, 8, 12, 14])
def test_what_zipfile_compresses(method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("a", CONTENT)
        length = file.infolist()[0].compress_size
    data = buffer.getvalue()[31 : 31 + length]
    assert compression.unreadable(method) == ""
    assert compression.decompress(data, method, len(CONTENT) + 1) == CONTENT
    assert compression.decompress(data, method, 1000) == CONTENT[:1000]


@pytest.mark.parametrize("method", [8, 12, 14])
@pytest.mark.parametrize("data", [b"\xff" * 100, bytes(100), b"\t\x14\5\0\xff\xff\xff\xff\xff" + b"\xff" * 50])
def test_damage_is_told(method: int, data: bytes) -> None:
    with pytest.raises(compression.DamagedData, match=r"[Ii]nvalid|no LZMA properties"):
        compression.decompress(data, method, 1000)


@pytest.mark.parametrize(("method", "name"), [(9, "deflate64"), (93, "zstd"), (95, "xz"), (98, "PPMd"), (42, "42")])
def test_what_cannot_be_read_is_named(method: int, name: str) -> None:
    assert name in compression.unreadable(method)
