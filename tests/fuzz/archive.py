"""The check of the ZIP reader: it must read what `zipfile` reads, but for documented differences."""

from __future__ import annotations

import contextlib
import copy
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from archives import LZMA

from fuzz.common import LIMITS, SECONDS, sentence
from helpers.effort import time_limit
from zipcrop.archive.directory import locate
from zipcrop.archive.reader import Archive, ArchiveError, Member, MemberError
from zipcrop.archive.source import LocalFile, LocalZip


@dataclass
class Reference:
    """A member as `zipfile` has it."""

    info: zipfile.ZipInfo
    data: bytes | None
    """None where it cannot be read, or is beyond the limits."""


def reference(path: Path) -> tuple[list[Reference], int]:
    """The members that `zipfile` reads and the offset of the directory that it finds; none and -1 if it refuses it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [Reference(info, _zipfile_read(archive, info)) for info in archive.infolist()]
            return members, archive.start_dir
    except Exception:
        return [], -1


def _zipfile_read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    if info.file_size > LIMITS.member_mb * 1e6:
        return None
    if info.compress_type == LZMA:
        # zipfile allocates whatever dictionary is declared, up to 4 GiB.
        with contextlib.suppress(Exception), archive.open(_as_stored(info)) as file:
            if int.from_bytes(file.read(9)[5:], "little") > 1 << 26:
                return None
    try:
        with archive.open(info) as file:
            return file.read()
    except Exception:
        return None


def _as_stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    stored = copy.copy(info)
    stored.compress_type = zipfile.ZIP_STORED
    stored.file_size = 9
    stored.CRC = None  # type: ignore[assignment]
    return stored


def check(data: bytes, folder: Path) -> str:
    """Reads `data` as an archive and gives the outcome, for statistics.

    Fails if that raises an undocumented error, hangs, takes much memory, or if `zipfile` reads a member that we do
    not.
    """
    path = folder / "fuzzed.zip"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with time_limit(SECONDS):
            members, contents, refusal = _read_all(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A member takes its compressed bytes and twice its own, while the last piece is put to the others.
    assert peak < 4e6 * LIMITS.member_mb + 10 * len(data) + 2e6, f"takes {peak} bytes for {len(data)}"
    assert LocalZip(str(path)).fingerprint() == LocalZip(str(path)).fingerprint() != "unreadable"
    expected, offset = reference(path)
    if not any(member.data is not None for member in expected):
        return f"archive: zipfile reads no member either: {refusal[:40] or 'opened'}"
    if refusal:
        _assert_documented_refusal(refusal, data, expected)
        return f"archive: documented: {refusal[:40]}"
    if offset != _offset_of_directory(path):
        # The last end record is passed over, and a comment or member has another one before it.
        assert _says_split(data) or _ends_in_the_middle(data)
        return "archive: another directory"
    differences = {_compare(*pair, data) for pair in _pairs(members, contents, expected)}
    return "archive: " + (", ".join(sorted(differences - {""})) or "same")


def _offset_of_directory(path: Path) -> int:
    with contextlib.closing(LocalFile(str(path))) as file:
        return locate(file).start


def _ends_in_the_middle(data: bytes) -> bool:
    """Whether the last end record belongs to an archive that is a member, and the archive around it is cut off."""
    at = data.rfind(b"PK\5\6")
    length = int.from_bytes(data[at + 20 : at + 22], "little")
    return data[at + 22 + length :].startswith((b"PK\1\2", b"PK\3\4"))


Content = bytes | MemberError


def _read_all(path: Path) -> tuple[list[Member], list[Content], str]:
    """The members with the content of each, or the reason why it is refused; or the reason why the archive is."""
    try:
        with Archive(str(path), LIMITS) as archive:
            members = archive.members()
            assert [member.index for member in members] == list(range(len(members)))
            return members, [_read(archive, member) for member in members], ""
    except ArchiveError as error:
        return [], [], sentence(error)


def _read(archive: Archive, member: Member) -> Content:
    try:
        entry = archive.entry(member.index)
        assert 0 <= archive.memory(entry) <= 3 * LIMITS.member_mb * 1e6 + (1 << 16)
        data = archive.read(entry)
    except MemberError as error:
        sentence(error)
        return error
    assert (len(data), zlib.crc32(data)) == (member.size, member.crc32)
    return data


def _assert_documented_refusal(refusal: str, data: bytes, expected: list[Reference]) -> None:
    """Fails unless the archive, which `zipfile` opens, is refused for one of these reasons.

    - it has more members than `limits.members`;
    - it says that it is a part of a split archive, which `zipfile` does not look at;
    - it begins with another archive, whose members nobody would account for;
    - it is cut off, so that its last end record is that of an archive inside it;
    - an entry of its directory reaches past the directory's end, and takes other entries with it: `zipfile` cuts the
      entry off, and does not say that the others are missing.
    """
    documented = {
        "more than limits.members": len(expected) > LIMITS.members,
        "is one part of a split archive": _says_split(data),
        "is several ZIP archives in one file": data.startswith(b"PK\3\4"),
        "is cut off at its end": _ends_in_the_middle(data),
        "its central directory is damaged after ": True,
    }
    assert any(text in refusal and holds for text, holds in documented.items()), refusal


def _says_split(data: bytes) -> bool:
    at, ends = -1, []
    while (at := data.find(b"PK\5\6", at + 1)) >= 0:
        ends.append(data[at + 4 : at + 8])
    while (at := data.find(b"PK\6\6", at + 1)) >= 0:
        ends.append(data[at + 16 : at + 24])
    while (at := data.find(b"PK\6\7", at + 1)) >= 0:
        ends += [b"1"] if data[at + 16 : at + 20] > b"\1\0\0\0" else []
    return any(any(end) for end in ends)


def _pairs(
    members: list[Member], contents: list[Content], expected: list[Reference]
) -> Iterator[tuple[Member, Content, Reference]]:
    assert len(members) == len(expected), f"{len(members)} members, but zipfile has {len(expected)}"
    return zip(members, contents, expected, strict=True)


def _compare(member: Member, content: Content, expected: Reference, data: bytes) -> str:
    """Fails if a member is not as `zipfile` has it, but for documented differences; gives the difference."""
    info = expected.info
    assert (member.crc32, member.size) == (info.CRC, info.file_size), (member, info)
    difference = ""
    if member.name != info.filename:
        # Pythons before 3.13 do not know the Unicode path.
        assert member.name.encode() in info.extra, (member, info)
        assert b"\x75\x70" in info.extra, (member, info)
        difference = "Unicode path"
    if expected.data is None:
        return difference
    if isinstance(content, bytes):
        assert content == expected.data, member
        return difference
    reason = str(content)
    documented = {
        # Its beginning is another member's, or another member is inside it.
        "overlaps another member": "overlap",
        # The same with the directory, which is read as data otherwise.
        "does not end before the central directory": "overlap",
        # Its checksum is right, but its size is not: zipfile then gives what there is.
        "is damaged: declares ": "size" if len(expected.data) != info.file_size or _has_more(info) else "",
    }
    known = next((known for text, known in documented.items() if text in reason and known), "")
    assert known, f"{member}: {reason}, but zipfile reads it"
    return known


def _has_more(info: zipfile.ZipInfo) -> bool:
    return info.compress_size > info.file_size or info.compress_type != zipfile.ZIP_STORED
