from __future__ import annotations

import errno
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import make_zip

from zipcrop import catalog
from zipcrop.errors import CatalogError, MachineError


def archive(folder: Path, name: str, content: bytes = b"x") -> Path:
    return make_zip(folder / name, [("a.jpg", content)])


def test_finds_archives_in_any_case_and_in_subfolders_in_natural_order(tmp_path: Path) -> None:
    for name in ("images(10).zip", "images(2).ZIP", "sub dir/ümlaut [x].Zip"):
        archive(tmp_path, name)
    (tmp_path / "readme.txt").write_text("")
    (tmp_path / "folder.zip").mkdir()
    assert catalog.find_archives(tmp_path) == {
        "images(2)": str(tmp_path / "images(2).ZIP"),
        "images(10)": str(tmp_path / "images(10).zip"),
        "sub dir/ümlaut [x]": str(tmp_path / "sub dir/ümlaut [x].Zip"),
    }


def test_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    archive(tmp_path / "elsewhere", "a.zip")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "linked").symlink_to(tmp_path / "elsewhere")
    (raw / "circle").symlink_to(raw)
    assert list(catalog.find_archives(raw)) == ["linked/a"]


def test_a_folder_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    archive(tmp_path / "folder.zip", "a.zip")
    assert catalog.find_archives(tmp_path) == {"folder.zip/a": str(tmp_path / "folder.zip" / "a.zip")}


def test_what_is_no_file_is_found_so_that_its_failure_is_told(tmp_path: Path) -> None:
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "gone.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    assert list(catalog.find_archives(tmp_path)) == ["dangling", "pipe"]


def test_a_folder_that_cannot_be_read_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path, "a.zip")
    archive(tmp_path / "closed", "b.zip")
    really_scan = os.scandir

    def scandir(folder: Any) -> Any:
        if os.fspath(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(folder))
        return really_scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)  # tests may run as root, whom no permission stops
    with pytest.raises(MachineError, match=r"Permission denied while searching .*closed.*; give yourself access"):
        catalog.find_archives(tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no ZIP archive"),
        (["a{b}.zip"], "brace"),
        (["a\nb.zip"], "control character"),
        ([".zip"], "no name before .zip"),
        (["x" * 247 + ".zip"], "more than 250 bytes"),
        (["a.zip", "a.ZIP"], "same name"),
        (["a.zip", "a/b.zip"], "inside those of"),
        (["a.zip", "a.csv/b.zip"], "inside those of"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        archive(tmp_path, name)
    with pytest.raises(CatalogError, match=said) as refused:
        catalog.find_archives(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    shutil.copy(archive(tmp_path, "good.zip"), os.fsencode(tmp_path) + b"/caf\xe9.zip")
    with pytest.raises(CatalogError, match=r"caf\\xe9\.zip .* not UTF-8"):
        catalog.find_archives(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"there is no folder .*nowhere"):
        catalog.find_archives(tmp_path / "nowhere")


def fingerprint(path: Path) -> str:
    return catalog.fingerprint(str(path))


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
