from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest

from helpers.files import make_zip
from zipcrop.archive import source
from zipcrop.archive.source import LocalFile, LocalZip
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


def test_the_state_is_another_after_anything_that_may_have_changed_the_content(tmp_path: Path) -> None:
    path = archive(tmp_path, "a.zip")
    (tmp_path / "link.zip").symlink_to(path)
    os.utime(path, ns=(1, 1))  # or the changes might come in the same moment, as the system counts them
    states = [LocalZip(str(path)).state()]
    with contextlib.closing(LocalZip(str(path)).open()) as reader:
        assert (
            reader.state() == LocalZip(str(path)).state() == LocalZip(str(tmp_path / "link.zip")).state() == states[0]
        )
        path.write_bytes(path.read_bytes())
        states.append(reader.state())
        assert LocalZip(str(path)).state() == states[1]
        shutil.copy2(path, tmp_path / "copy.zip")
        (tmp_path / "copy.zip").replace(path)
        states.append(LocalZip(str(path)).state())
        assert reader.state() != states[2]
    os.truncate(path, 50)
    states.append(LocalZip(str(path)).state())
    assert len(set(states)) == len(states)
    assert pickle.loads(pickle.dumps(states)) == states


def test_the_state_of_what_is_no_file(tmp_path: Path) -> None:
    """The job says what it is, once it opens it."""
    (tmp_path / "a.zip").symlink_to("nowhere.zip")
    (tmp_path / "loop.zip").symlink_to("loop.zip")
    (tmp_path / "file").touch()
    for name in ("a.zip", "loop.zip", "gone.zip", "file/a.zip"):
        assert LocalZip(str(tmp_path / name)).state() is None
    os.mkfifo(tmp_path / "pipe.zip")
    assert LocalZip(str(tmp_path / "pipe.zip")).state() is not None
    with pytest.raises(OSError, match="File name too long"):
        LocalZip(str(tmp_path / ("n" * 300))).state()


def test_the_system_forgets_what_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would give the same wrong bytes again without asking the disk."""
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    forgotten: list[tuple[int, int]] = []
    really_advise = os.posix_fadvise

    def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        forgotten.append((offset, length))
        really_advise(descriptor, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    for anew in (False, True):
        with contextlib.closing(LocalZip(str(path)).open(anew)) as reader:
            assert reader.read_at(50, 10) == bytes(50)
    mib = 1 << 20
    assert forgotten == [(0, 2 * mib)]
    with contextlib.closing(LocalZip(str(path)).open(anew=True)) as reader:
        reader.read_at(mib, 3 * mib + 1)
    assert forgotten[1:] == [(2 * mib, 4 * mib)]


@pytest.mark.parametrize("cut", [b"", bytes(8)], ids=["nothing", "little"])
def test_a_read_that_falls_short_never_raises(cut: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, "a.zip")
    before = fingerprint(path)
    really_read = LocalFile.read_at
    reads: list[int] = []
    for wrong in range(5):
        reads.clear()

        def read_at(reader: LocalFile, length: int, offset: int, wrong: int = wrong) -> bytes:
            reads.append(offset)
            return cut if len(reads) - 1 == wrong else really_read(reader, length, offset)

        monkeypatch.setattr(LocalFile, "read_at", read_at)
        assert (fingerprint(path) == before) == (len(reads) <= wrong)


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
