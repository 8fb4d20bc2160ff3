"""Members' names that are odd or hostile, through the real crop job, all in one archive.

A case's name is the file that the original is expected in, below the archive's folder, or else `status: reason`.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from archives import (
    PERSON,
    PHOTO,
    PNG,
    UTF8,
    Entry,
    assert_only_results_written,
    build,
    first_rows,
    outcome,
)

from helpers.output import files_below
from zipcrop.results import tables

if TYPE_CHECKING:
    from helpers.job import Crop, Rows


def utf8(name: str, content: bytes = PHOTO) -> Entry:
    return Entry(name.encode(), content, flags=UTF8)


def unicode_path(raw: bytes, name: str, crc32: int | None = None) -> Entry:
    """With an Info-ZIP Unicode path (APPNOTE, section 4.6.9)."""
    data = struct.pack("<BL", 1, zlib.crc32(raw) if crc32 is None else crc32) + name.encode()
    return Entry(raw, extra=struct.pack("<2H", 0x7075, len(data)) + data)


def decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


NAMES = {
    "plain.jpg": Entry(b"plain.jpg"),
    "twice.jpg": Entry(b"twice.jpg"),
    "twice~2.jpg": Entry(b"twice.jpg"),
    "twice~3.jpg": Entry(b"twice.jpg"),
    "Case.jpg": Entry(b"Case.jpg"),
    "case~2.JPG": Entry(b"case.JPG"),
    "one/same.jpg": Entry(b"one/same.jpg"),
    "two/same.jpg": Entry(b"two/same.jpg"),
    "up.jpg": Entry(b"../../up.jpg"),
    "inside/up.jpg": Entry(b"inside/../../up.jpg"),
    "etc/absolute.jpg": Entry(b"/etc/absolute.jpg"),
    "C_/drive.jpg": Entry(b"C:\\drive.jpg"),
    "host/share/unc.jpg": Entry(b"\\\\host\\share\\unc.jpg"),
    "back/slash.jpg": Entry(b"back\\slash.jpg"),
    "back/slash~2.jpg": Entry(b"back/slash.jpg"),
    "zero.jpg": Entry(b"zero.jpg\0.txt"),
    "new_line.jpg": Entry(b"new\nline.jpg"),
    "carriage__return.jpg": Entry(b"carriage\r\nreturn.jpg"),
    "bell_escape_[31mdelete_.jpg": Entry(b"bell\x07escape\x1b[31mdelete\x7f.jpg"),
    "line_paragraph_.jpg": utf8("line\u2028paragraph\u2029.jpg"),
    "dots.jpg": Entry(b"dots.jpg. . "),
    "folder/dots.jpg": Entry(b"folder. /dots.jpg"),
    "_CON.jpg": Entry(b"CON.jpg"),
    "_lpt1/a.jpg": Entry(b"lpt1/a.jpg"),
    f"{'x' * 217}~cacfb911.jpg": Entry(b"x" * 251 + b".jpg"),
    f"{'y' * 217}~09ca2fc6.jpg": Entry(b"y" * 396 + b".jpg"),
    "e6223c13/deep.jpg": Entry(b"d/" * 600 + b"deep.jpg"),
    "😀 🧑‍🤝‍🧑.jpg": utf8("😀 🧑‍🤝‍🧑.jpg"),
    "caf\u00e9.jpg": utf8("caf\u00e9.jpg"),
    f"{decomposed('café')}~2.jpg": utf8(decomposed("café.jpg")),
    "evil_gpj.jpg": utf8("evil\u202egpj.jpg"),
    "über.jpg | cp437": Entry(b"\x81ber.jpg"),
    "Photo/Ä.jpg | Unicode path": unicode_path(b"Photo/?.jpg", "Photo/Ä.jpg"),
    "renamed.jpg | Unicode path of another name": unicode_path(b"renamed.jpg", "old.jpg", crc32=1),
    f"{'写真.jpg'.encode('shift_jis').decode('cp437')} | Shift-JIS": Entry("写真.jpg".encode("shift_jis")),
    f"{'照片.jpg'.encode('gbk').decode('cp437')} | GBK": Entry("照片.jpg".encode("gbk")),
    "-rf.jpg": Entry(b"-rf.jpg"),
    "--help.jpg": Entry(b"--help.jpg"),
    "it's _quoted_, %20 $(touch x) `touch y`; {braces} & _.jpg": Entry(
        b'it\'s "quoted", %20 $(touch x) `touch y`; {braces} & |.jpg'
    ),
    "UPPER.JPG": Entry(b"UPPER.JPG"),
    "really a.png.jpg": Entry(b"really a.png.jpg", PNG),
    "IMG_0001": Entry(b"IMG_0001"),
    ".JPG": Entry(b".JPG"),
    "a.jpg": Entry(b"a.jpg"),
    "a.jpg_/b.jpg": Entry(b"a.jpg/b.jpg"),
    "set~2": Entry(b"set"),
    "set/b.jpg": Entry(b"set/b.jpg"),
    "unnamed": Entry(b""),
    "unnamed~2": Entry(b".."),
    "_.snakemake_timestamp": Entry(b".snakemake_timestamp"),
    "skipped: not an image | without suffix": Entry(b"README", b"text"),
    "skipped: not an image | hidden": Entry(b".DS_Store", b"\0\0\0\1Bud1"),
    "skipped: macOS metadata": Entry(b"__MACOSX/._a.jpg", b"\0\5\x16\7"),
    "skipped: macOS metadata | by content": Entry(b"._b.jpg", b"\0\5\x16\7"),
    "skipped: symbolic link": Entry(b"link.jpg", b"../../../etc/passwd", mode=stat.S_IFLNK | 0o777),
    "skipped: folder": Entry(b"../../folder/", b""),
}

PERSONS = {
    "who": Entry(b"who.jpg", PERSON),
    "who~2": Entry(b"who.jpeg", PERSON),
    "WHO~3": Entry(b"WHO", PERSON),
    "escape": Entry(b"../../escape.jpg", PERSON),
}


@pytest.fixture
def rows(crop: Crop, tmp_path: Path) -> Rows:
    path = tmp_path / "names.zip"
    path.write_bytes(build([*NAMES.values(), *PERSONS.values()]))
    before = files_below(tmp_path)
    manifest = crop(path)
    assert_only_results_written(before, tmp_path, "names")
    return manifest


def given(entry: Entry) -> str:
    """The name as the archive gives it."""
    if b"?" in entry.name:
        return "Photo/Ä.jpg"
    return entry.name.decode("utf-8" if entry.flags & UTF8 else "cp437").partition("\0")[0]


def test_every_original_is_where_its_case_says(rows: Rows, tmp_path: Path) -> None:
    first = first_rows(rows)
    entries = [*NAMES.values(), *PERSONS.values()]
    assert [row["member"] for row in first] == [given(entry) for entry in entries]
    originals = first[: len(NAMES)]
    ends = [
        row["file"].removeprefix("output/").removeprefix("No_Person/names/") or f"{row['status']}: {row['reason']}"
        for row in originals
    ]
    assert ends == [outcome(case) for case in NAMES]
    for row, entry in zip(originals, NAMES.values(), strict=True):
        if row["file"]:
            assert row["status"] == "no_person"
            assert (tmp_path / "output" / row["file"]).read_bytes() == entry.content
    crops = [row["file"] for row in rows if row["status"] == "person"]
    persons = len(crops) // len(PERSONS)
    assert crops == [f"Person/names/{stem}_{k}.jpg" for stem in PERSONS for k in range(persons)]
    files = [row["file"].lower() for row in rows if row["file"]]
    assert len(set(files)) == len(files)
    # The reader of the manifest gives the same names.
    table = tables.read(tmp_path / "output", "names").drop_duplicates("member_index")
    assert table["member"].tolist() == [given(entry) for entry in entries]
