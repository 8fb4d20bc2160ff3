from __future__ import annotations

import os
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from support import make_zip

from zipcrop import source
from zipcrop.errors import MachineError


def archive(folder: Path, name: str, content: bytes = b"x") -> Path:
    return make_zip(folder / name, [("a.jpg", content)])


def fingerprint(path: Path) -> str:
    return source.at(str(path)).fingerprint()


def test_fingerprint_goes_by_content_alone(tmp_path: Path) -> None:
    path = archive(tmp_path, "a.zip")
    before = fingerprint(path)
    os.utime(path, (1, 1))
    copy = shutil.copyfile(path, tmp_path / "copy.zip")
    assert fingerprint(path) == fingerprint(copy) == before
    assert fingerprint(archive(tmp_path, "a.zip", b"y")) != before


def test_fingerprint_reads_the_directory_only(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("big.bin", bytes(5_000_000)), ("a.jpg", b"x")])
    before = fingerprint(path)
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"other")
    assert fingerprint(path) == before


def test_fingerprint_is_looked_up_anew_every_time(tmp_path: Path) -> None:
    path = archive(tmp_path, "a.zip")
    before = fingerprint(path)
    archive(tmp_path, "a.zip", b"other")
    assert fingerprint(path) != before


def test_fingerprint_stays_what_it_was(tmp_path: Path) -> None:
    # Another one would do all archives again.
    assert fingerprint(archive(tmp_path, "a.zip")) == "b706878ee090691a16c3aa532058360d"
    (tmp_path / "broken.zip").write_bytes(b"<html>")
    assert fingerprint(tmp_path / "broken.zip") == "broken-70b09b3ced5b7ea792f3f5184f77ed30"


def test_fingerprint_of_zip64_with_comment_and_stub(tmp_path: Path) -> None:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(b"stub")
        with zipfile.ZipFile(path, "a") as file:
            file.comment = b"PK a comment"
            file.writestr(zipfile.ZipInfo("a.jpg"), content)
        data = path.read_bytes()
        # The same archive with a ZIP64 end record: sizes and offsets stand there, and 0xFFFFFFFF in the usual one.
        end = data.rindex(b"PK\5\6")
        _, _, _, count, _, size, offset, _ = struct.unpack_from("<4s4H2LH", data, end)
        zip64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
        usual = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 12) + b"PK a comment"
        path.write_bytes(data[:end] + zip64 + locator + usual)
        return path

    one, other = write("one.zip", b"x"), write("other.zip", b"y")
    assert zipfile.ZipFile(one).namelist() == ["a.jpg"]
    assert not fingerprint(one).startswith("broken")
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(100_000), b"PK\5\6", b"PK\5\6" + b"\xff" * 18])
def test_fingerprint_of_a_broken_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    before = fingerprint(path)
    assert before.startswith("broken")
    path.write_bytes(content + b"!")
    assert fingerprint(path) != before


def test_fingerprint_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    assert fingerprint(tmp_path / "pipe.zip") == fingerprint(tmp_path / "gone.zip") == "unreadable"


def test_fingerprint_of_more_than_65535_members(tmp_path: Path) -> None:
    def write(content: bytes) -> str:
        members = [(f"{i}", content if i == 30_000 else b"x") for i in range(66_000)]
        return fingerprint(make_zip(tmp_path / "many.zip", members))

    one, other = write(b"y"), write(b"z")
    assert one != other
    assert not one.startswith("broken")


def test_another_archive_in_the_same_place_is_noticed(tmp_path: Path) -> None:
    path = archive(tmp_path, "a.zip")
    before = fingerprint(path)
    source.check_unchanged(str(path), before)
    archive(tmp_path, "a.zip", b"other")
    with pytest.raises(MachineError, match=r"a\.zip changed since the run began; run again"):
        source.check_unchanged(str(path), before)


def test_size_is_that_of_the_file(tmp_path: Path) -> None:
    path = archive(tmp_path, "a.zip", bytes(1000))
    assert source.at(str(path)).size() == path.stat().st_size > 1000
    assert source.at(str(tmp_path / "gone.zip")).size() == 0


def test_a_file_is_read_anywhere_and_no_further_than_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    reader = source.at(str(path)).open()
    assert (reader.size, reader.read_at(3, 50), reader.read_at(9, 98), reader.read_at(1, 200)) == (
        100,
        bytes([50, 51, 52]),
        bytes([98, 99]),
        b"",
    )
    reader.close()
