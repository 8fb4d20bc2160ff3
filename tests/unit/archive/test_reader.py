from __future__ import annotations

import contextlib
import functools
import os
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.files import make_zip
from zipcrop.archive.reader import Archive, ArchiveError, MemberError
from zipcrop.settings import Limits

JPEG = b"\xff\xd8\xff"
LIMITS = Limits(member_mb=1, megapixels=10, members=100, seconds=120)


def read(archive: Archive, index: int) -> bytes:
    return archive.read(archive.entry(index))


def test_members_in_the_order_of_the_directory(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("b.jpg", JPEG), ("dir/", b""), ("a.jpg", JPEG + b"a"), ("b.jpg", JPEG * 2)])
    with Archive(str(path), LIMITS) as archive:
        assert [(m.index, m.name, m.size) for m in archive.members()] == [
            (0, "b.jpg", 3),
            (1, "dir/", 0),
            (2, "a.jpg", 4),
            (3, "b.jpg", 6),
        ]
        assert [read(archive, index) for index in (0, 2, 3)] == [JPEG, JPEG + b"a", JPEG * 2]


def test_a_name_that_ends_in_a_slash_is_a_folder(tmp_path: Path) -> None:
    with Archive(str(make_zip(tmp_path / "a.zip", [("dir/", b""), ("dir", b"")])), LIMITS) as archive:
        assert [member.kind for member in archive.members()] == ["folder", ""]


def test_links_are_told_from_files(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with Archive(str(tmp_path / "a.zip"), LIMITS) as archive:
        assert archive.members()[0].kind == "symbolic link"


def damaged(path: Path, find: bytes, replace: bytes) -> str:
    data = path.read_bytes()
    assert find in data
    path.write_bytes(data.replace(find, replace))
    return str(path)


def test_a_wrong_crc_is_damage(tmp_path: Path) -> None:
    path = damaged(make_zip(tmp_path / "a.zip", [("a.jpg", b"content")]), b"content", b"c0ntent")
    with Archive(path, LIMITS) as archive, pytest.raises(MemberError, match=r"damaged: Bad CRC"):
        read(archive, 0)


def test_a_member_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("a.jpg", bytes(1_000_001))])
    with Archive(str(path), LIMITS) as archive, pytest.raises(MemberError, match=r"limits.member_mb \(1\)"):
        read(archive, 0)


def test_encryption_and_unknown_compression_say_so(tmp_path: Path) -> None:
    for flag, method, reason in ((1, 0, "is encrypted"), (0, 99, "is encrypted"), (0, 9, "deflate64")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr("a.jpg", b"content")
            info = file.filelist[0]
            info.flag_bits |= flag
            info.compress_type = method
        with Archive(str(tmp_path / "a.zip"), LIMITS) as archive, pytest.raises(MemberError, match=reason):
            read(archive, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"<html>", "not a ZIP archive"), (b"PK\3\4" + bytes(500), "cut off at its end")],
)
def test_an_archive_that_is_none_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match=reason):
        Archive(str(tmp_path / "a.zip"), LIMITS)


def test_too_many_members(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{i}.jpg", b"") for i in range(101)])
    with pytest.raises(ArchiveError, match=r"101 members, more than limits.members \(100\)"):
        Archive(str(path), LIMITS)


def test_a_pipe_is_no_archive_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(ArchiveError, match="not a regular file"):
        Archive(str(tmp_path / "a.zip"), LIMITS)


def test_a_link_to_nothing_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").symlink_to(tmp_path / "gone.zip")
    with pytest.raises(ArchiveError, match="a symbolic link to a file that is not there"):
        Archive(str(tmp_path / "a.zip"), LIMITS)


def test_a_missing_file_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Archive(str(tmp_path / "gone.zip"), LIMITS)


def test_an_archive_that_lost_its_beginning_has_damaged_members(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{i}.jpg", bytes(1000)) for i in range(5)])
    path.write_bytes(path.read_bytes()[1500:])
    with Archive(str(path), LIMITS) as archive, pytest.raises(MemberError, match="damaged"):
        read(archive, 0)


def test_a_member_takes_its_compressed_and_its_own_size_unless_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg", bytes(1000))
        file.writestr("b.jpg", bytes(1_000_001))
        compressed = file.infolist()[0].compress_size
    with Archive(str(path), LIMITS) as archive:
        assert [archive.memory(archive.entry(index)) for index in (0, 1)] == [1000 + compressed, 0]


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    contents = [JPEG + bytes([index]) * 10_000 for index in range(100)]
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for index, content in enumerate(contents):
            file.writestr(f"{index}.jpg", content)
    with Archive(str(path), LIMITS) as archive, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(functools.partial(read, archive), range(100))) == contents


def test_whatever_is_damaged_it_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for index, method in enumerate((0, 8, 12, 14, 8)):
            file.writestr(f"{index}.jpg", bytes(range(40)) * 5, method)
    whole = path.read_bytes()
    draw = random.Random(1)
    for _ in range(800):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3, 30))):
            data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0xFF, draw.randrange(256)))
        if draw.random() < 0.2:
            start = draw.randrange(len(data))
            del data[start : start + draw.choice((1, 50, len(data)))]
        path.write_bytes(data)
        try:
            with Archive(str(path), LIMITS) as archive:
                for member in archive.members():
                    with contextlib.suppress(MemberError):
                        entry = archive.entry(member.index)
                        assert archive.memory(entry) < 5_000_000
                        archive.read(entry)
        except ArchiveError as error:
            assert "\n" not in str(error)  # noqa: PT017 - only some are refused


def test_a_member_without_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a", b"x")
        file.filelist[0].filename = ""
    with Archive(str(tmp_path / "a.zip"), LIMITS) as archive:
        assert [(member.name, member.kind) for member in archive.members()] == [("", "")]
