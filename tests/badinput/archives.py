"""Archives and members that are odd, damaged or hostile, made byte by byte: no library writes such ones.

A case's name is its expected outcome, with `| ` and a note that tells it from others of the same outcome.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.output import files_below
from helpers.photos import encoded
from zipcrop.results import layout

STORED, DEFLATE, DEFLATE64, BZIP2, LZMA, ZSTD, XZ, PPMD, AES = 0, 8, 9, 12, 14, 93, 95, 98, 99
ENCRYPTED, STREAMED, UTF8 = 0x1, 0x8, 0x800
UNKNOWN32 = 0xFFFFFFFF

PHOTO = encoded("empty", scale=0.2)
"""A photo without people, so that its original is kept."""
PNG = encoded("empty", ".png", scale=0.2)
PERSON = encoded("zidane", scale=0.3)


@dataclass
class Entry:
    """A member as it is to be written; a field that is None is as it should be."""

    name: bytes
    content: bytes = PHOTO
    method: int = STORED
    flags: int = 0
    data: bytes | None = None
    """Compressed."""
    crc32: int | None = None
    size: int | None = None
    compressed_size: int | None = None
    extra: bytes = b""
    mode: int = 0o100644
    local_signature: bytes = b"PK\3\4"
    local_name: bytes | None = None
    local_size: int | None = None
    local_extra: bytes = b""
    descriptor: bytes | None = None
    """Signature of the data descriptor; None where there is no descriptor."""
    within: tuple[int, int] | None = None
    """An entry's index, and how many bytes after its beginning this one's local header is; it writes none then."""
    zip64: bool = False
    offset: int | None = None
    version: int = 20

    def compressed(self) -> bytes:
        if self.data is not None:
            return self.data
        return compress(self.content, self.method)

    def local(self) -> bytes:
        """Local header, data and descriptor."""
        data = self.compressed()
        crc32, size = zlib.crc32(self.content), len(self.content)
        name = self.name if self.local_name is None else self.local_name
        declared = (crc32, len(data), size)
        extra = self.local_extra
        if self.descriptor is not None:
            declared = (0, 0, 0)
        elif self.zip64:
            declared = (crc32, UNKNOWN32, UNKNOWN32)
            extra += struct.pack("<2H2Q", 1, 16, size, len(data))
        elif self.local_size is not None:
            declared = (crc32, len(data), self.local_size)
        flags = self.flags | (STREAMED if self.descriptor is not None else 0)
        header = struct.pack(
            "<4s5H3L2H", self.local_signature, self.version, flags, self.method, 0, 33, *declared, len(name), len(extra)
        )
        descriptor = b""
        if self.descriptor is not None:
            descriptor = self.descriptor + struct.pack("<3L", crc32, len(data), size)
        return header + name + extra + data + descriptor

    def central(self, offset: int) -> bytes:
        """Entry of the central directory."""
        crc32 = zlib.crc32(self.content) if self.crc32 is None else self.crc32
        size = len(self.content) if self.size is None else self.size
        compressed_size = len(self.compressed()) if self.compressed_size is None else self.compressed_size
        extra = self.extra
        if self.zip64:
            extra += struct.pack("<2H3Q", 1, 24, size, compressed_size, offset)
            size = compressed_size = offset = UNKNOWN32
        flags = self.flags | (STREAMED if self.descriptor is not None else 0)
        fields = (3, self.version, 0, flags, self.method, 0, 33, crc32, compressed_size, size)
        lengths = (len(self.name), len(extra), 0)
        header = struct.pack("<4s4B4H3L5H2L", b"PK\1\2", self.version, *fields, *lengths, 0, 0, self.mode << 16, offset)
        return header + self.name + extra


def compress(content: bytes, method: int) -> bytes:
    """`content` as a member of that method holds it; unchanged for methods that nothing here can write."""
    if method == DEFLATE:
        compressor = zlib.compressobj(wbits=-15)
        return compressor.compress(content) + compressor.flush()
    if method == BZIP2:
        return bz2.compress(content)
    if method == XZ:
        return lzma.compress(content)
    if method == LZMA:
        # The same properties, which are 5 bytes, begin the .lzma format; there, 8 bytes of size follow.
        alone = lzma.compress(content, lzma.FORMAT_ALONE)
        return struct.pack("<2BH", 9, 20, 5) + alone[:5] + alone[13:]
    return content


def encrypted(entry: Entry, password: bytes = b"secret") -> Entry:
    """`entry` under the traditional encryption (APPNOTE, section 6.1)."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def crc32(value: int, byte: int) -> int:
        return zlib.crc32(bytes([byte]), value ^ UNKNOWN32) ^ UNKNOWN32

    def update(byte: int) -> None:
        keys[0] = crc32(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & UNKNOWN32
        keys[2] = crc32(keys[2], keys[1] >> 24)

    def encrypt(byte: int) -> int:
        word = (keys[2] | 2) & 0xFFFF
        mask = (word * (word ^ 1)) >> 8 & 0xFF
        update(byte)
        return byte ^ mask

    for byte in password:
        update(byte)
    salted = bytes(11) + bytes([zlib.crc32(entry.content) >> 24]) + entry.compressed()
    return replace(entry, data=bytes(map(encrypt, salted)), flags=entry.flags | ENCRYPTED)


def aes_encrypted(name: bytes) -> Entry:
    """As WinZip writes it: method 99, and the true one in an extra field. Its content need not be decipherable."""
    extra = struct.pack("<2HH2sBH", 0x9901, 7, 2, b"AE", 3, STORED)
    return Entry(name, method=AES, flags=ENCRYPTED, data=bytes(range(256)), extra=extra, local_extra=extra, crc32=0)


def quoted_overlap(names: Sequence[bytes]) -> list[Entry]:
    """A bomb as David Fifield builds it (A better zip bomb, 2019): every member's data quotes the next one's header, in
    a stored block of DEFLATE, and goes on in that one's data. All but the last reach over the others."""
    last = Entry(names[-1], method=DEFLATE)
    locals_, contents, stream = [last.local()], [last.content], last.compressed()
    for name in reversed(names[:-1]):
        header = locals_[0][: len(locals_[0]) - len(stream)]
        stream = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + header + stream
        contents.insert(0, header + contents[0])
        locals_.insert(0, Entry(name, contents[0], DEFLATE, data=stream).local())
    entries = []
    for index, name in enumerate(names):
        # Every local part ends where all of them end.
        delta = len(locals_[0]) - len(locals_[index])
        data = locals_[index][30 + len(name) :]
        entries.append(Entry(name, contents[index], DEFLATE, data=data, within=(0, delta) if index else None))
    return entries


def build(
    entries: Iterable[Entry],
    *,
    stub: bytes = b"",
    comment: bytes = b"",
    trailing: bytes = b"",
    zip64: bool = False,
    disk: int = 0,
) -> bytes:
    """An archive of `entries`, with a `stub` before it that its offsets do not count, and `trailing` junk."""
    body, directory = bytearray(), bytearray()
    offsets: list[int] = []
    count = 0
    for entry in entries:
        count += 1
        if entry.within:
            base, delta = entry.within
            offsets.append(offsets[base] + delta)
        else:
            offsets.append(len(body))
            body += entry.local()
        directory += entry.central(offsets[-1] if entry.offset is None else entry.offset)
    end = bytearray()
    if zip64 or count > 0xFFFF:
        end += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), len(body))
        end += struct.pack("<4sLQL", b"PK\6\7", 0, len(body) + len(directory), 1)
        fields = (0, 0, 0xFFFF, 0xFFFF, UNKNOWN32, UNKNOWN32)
    else:
        fields = (disk, disk, count, count, len(directory), len(body))
    end += struct.pack("<4s4H2LH", b"PK\5\6", *fields, len(comment)) + comment
    return bytes(stub + body + directory + end + trailing)


def outcome(case: str) -> str:
    """The expected end of a case: `status: reason` of a member, the reason of an archive."""
    return case.split(" | ")[0]


def first_rows(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The first row of every member, in their order; fails unless each is accounted for once, and rows in order."""
    first = {int(row["member_index"]): row for row in reversed(rows)}
    indices = [int(row["member_index"]) for row in rows]
    assert indices == sorted(indices)
    assert sorted(first) == list(range(len(first)))
    return [first[index] for index in sorted(first)]


def assert_only_results_written(before: dict[str, bytes], folder: Path, archive: str) -> None:
    """Fails if anything below `folder` has changed since `before`, as `files_below` gives it, other than logs and new
    results of `archive`."""
    before, after = (
        {path: data for path, data in each.items() if "logs" not in Path(path).parts}
        for each in (before, files_below(folder))
    )
    assert {path: after.get(path) for path in before} == before
    folders = tuple(f"output/{name}/{archive}/" for name in layout.FOLDERS)
    tables = {f"output/manifests/{archive}.{suffix}" for suffix in ("csv", "json", "sha256")}
    assert [path for path in after.keys() - before.keys() if not path.startswith(folders) and path not in tables] == []
