from __future__ import annotations

import contextlib
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.files import make_zip
from helpers.photos import encoded
from zipcrop.archive import directory, entry
from zipcrop.archive.directory import Directory, locate
from zipcrop.archive.reader import Archive, ArchiveError
from zipcrop.archive.source import LocalFile
from zipcrop.settings import Limits


@contextmanager
def opened(path: Path) -> Iterator[LocalFile]:
    with contextlib.closing(LocalFile(str(path))) as reader:
        yield reader


def test_entries_are_what_zipfile_says(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.comment = b"a comment"
        for index, name in enumerate(("a.jpg", "dir/", "ü/é.jpg", "😀.png", "a.jpg", "")):
            info = zipfile.ZipInfo(name)
            info.comment = b"c" * index
            info.extra = b"\xfe\xca" + struct.pack("<H", index) + bytes(index)
            info.external_attr = (0o100600 + index) << 16
            file.writestr(info, b"x" * index * 100, (0, 8, 12, 14)[index % 4])
    infos = zipfile.ZipFile(path).infolist()
    with opened(path) as reader:
        entries = Directory(reader, 100)
        assert len(entries) == len(infos)
        for index, (entry, info) in enumerate(zip(entries, infos, strict=True)):
            assert entry == entries[index]
            assert (entry.name, entry.flags, entry.method) == (info.filename, info.flag_bits, info.compress_type)
            assert (entry.crc32, entry.compressed_size, entry.size) == (info.CRC, info.compress_size, info.file_size)
            assert (entry.mode, entries.offset(index)) == (info.external_attr >> 16, info.header_offset)


@pytest.mark.parametrize("wrong", [b"", b"\0", b"caf\xe9.jpg"], ids=["empty", "NUL", "not UTF-8"])
def test_a_unicode_path_that_is_no_name_is_passed_over(wrong: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("caf?.jpg")
    body = b"\1" + zlib.crc32(b"caf?.jpg").to_bytes(4, "little") + wrong
    info.extra = struct.pack("<2H", 0x7075, len(body)) + body
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, b"")
    with opened(path) as reader:
        assert [entry.name for entry in Directory(reader, 1)] == ["caf?.jpg"]


def test_blocks_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{'n' * (index % 97)}{index}.jpg" for index in range(5000)]
    path = make_zip(tmp_path / "a.zip", [(name, b"") for name in names])
    monkeypatch.setattr(directory, "_BLOCK", 1009)
    monkeypatch.setattr(entry, "LONGEST", 200)
    with opened(path) as reader:
        assert [entry.name for entry in Directory(reader, 5000)] == names


def test_the_count_is_checked_while_it_is_read(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{index}.jpg", b"") for index in range(10)])
    with opened(path) as reader:
        assert len(Directory(reader, 10)) == 10
        with pytest.raises(ArchiveError, match=r"has 10 members, more than limits.members \(9\)"):
            Directory(reader, 9)


def test_it_holds_few_bytes_for_an_entry(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{'n' * 100}{index}.jpg", b"") for index in range(5000)])
    with opened(path) as reader:
        entries = Directory(reader, 5000)
        held = sum(map(sys.getsizeof, {id(value): value for value in vars(entries).values()}.values()))
    assert held < 20 * 5000


def test_room_ends_where_the_next_local_header_begins_in_whatever_order(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{index}.jpg", bytes(100)) for index in range(4)])
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    entries = [data[start + index * 51 : start + (index + 1) * 51] for index in range(4)]
    path.write_bytes(data[:start] + entries[2] + entries[0] + entries[3] + entries[0] + data[start + 4 * 51 :])
    with opened(path) as reader:
        shuffled = Directory(reader, 10)
        assert [shuffled.offset(index) for index in range(4)] == [270, 0, 405, 0]
        assert [shuffled.room(index) for index in range(4)] == [(405, True), (270, True), (540, False), (270, True)]
        assert [shuffled.is_repeated(index) for index in range(4)] == [False, False, False, True]


def test_a_comment_may_look_like_an_end_record(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("a.jpg", b"x")])
    with opened(path) as reader:
        extent = locate(reader)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"PK\5\6" + bytes(30) + b"PK\5\6"
    with opened(path) as reader:
        assert locate(reader).start == extent.start


@pytest.mark.parametrize("longer", [0, 24])
def test_a_zip64_end_record_may_be_longer_than_usual(tmp_path: Path, longer: int) -> None:
    data = make_zip(tmp_path / "a.zip", [("a.jpg", b"x"), ("b.jpg", b"y")]).read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44 + longer, 45, 45, 0, 0, 2, 2, end - start, start) + bytes(longer)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    # The usual record is there in full, too, as Java writes it.
    (tmp_path / "a.zip").write_bytes(data[:end] + record + locator + data[end:])
    with opened(tmp_path / "a.zip") as reader:
        assert [entry.name for entry in Directory(reader, 2)] == ["a.jpg", "b.jpg"]
        assert locate(reader).shift == 0


def test_a_digital_signature_ends_the_directory(tmp_path: Path) -> None:
    data = make_zip(tmp_path / "a.zip", [("a.jpg", b"x")]).read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    signature = b"PK\5\5\4\0abcd"
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, end - start + len(signature), start, 0)
    (tmp_path / "a.zip").write_bytes(data[:end] + signature + record)
    with opened(tmp_path / "a.zip") as reader:
        assert [entry.name for entry in Directory(reader, 2)] == ["a.jpg"]


def test_more_than_4_gib_without_zip64_as_macos_packs_them(tmp_path: Path) -> None:
    photo = encoded("empty")
    data = make_zip(tmp_path / "a.zip", [("a.jpg", photo), ("big.mov", b"x"), ("b.jpg", photo)]).read_bytes()
    # A hole, which takes no room on the disk, in place of a film; offsets after it are modulo 2**32.
    first = 30 + len("a.jpg") + len(photo)
    film = first + 30 + len("big.mov")
    with (tmp_path / "a.zip").open("r+b") as file:
        file.seek(film + 2**32)
        file.write(data[film:])
    with Archive(str(tmp_path / "a.zip"), Limits(1, 1, 10, 120)) as archive:
        assert [archive.read(archive.entry(index)) for index in (0, 2)] == [photo, photo]
