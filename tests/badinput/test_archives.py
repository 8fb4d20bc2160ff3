"""Odd, damaged and hostile archives through the real crop job."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from archives import (
    AES,
    BZIP2,
    DEFLATE,
    DEFLATE64,
    LZMA,
    PERSON,
    PHOTO,
    PPMD,
    UTF8,
    XZ,
    ZSTD,
    Entry,
    aes_encrypted,
    assert_only_results_written,
    build,
    encrypted,
    first_rows,
    outcome,
    quoted_overlap,
)

from helpers.output import files_below
from zipcrop.errors import MachineError

if TYPE_CHECKING:
    from helpers.job import Crop

PACK_AGAIN = "pack it again as an ordinary ZIP archive"
OVERLAPS = "failed: overlaps another member, as in a ZIP bomb"
DAMAGED = "failed: is damaged: "

MEMBERS = {
    "no_person | stored": Entry(b"stored.jpg"),
    "no_person | deflate": Entry(b"deflate.jpg", method=DEFLATE),
    "no_person | bzip2": Entry(b"bzip2.jpg", method=BZIP2),
    "no_person | LZMA": Entry(b"lzma.jpg", method=LZMA),
    "no_person | streamed": Entry(b"streamed.jpg", descriptor=b"PK\7\x08"),
    "no_person | streamed, descriptor without signature": Entry(b"bare.jpg", method=DEFLATE, descriptor=b""),
    "no_person | ZIP64 fields": Entry(b"zip64.jpg", zip64=True),
    "no_person | longer extra field in the local header": Entry(b"extra.jpg", local_extra=b"\xfe\xca\4\0abcd"),
    "no_person | extra field that is cut off": Entry(b"cut extra.jpg", extra=b"\xfe\xca\xff\xff"),
    "no_person | version of a program to come": Entry(b"version.jpg", version=99),
    "no_person | size wrong in the local header alone": Entry(b"local size.jpg", local_size=1),
    "person": Entry(b"person.jpg", PERSON),
    f"failed: is compressed in a way that cannot be read (deflate64); {PACK_AGAIN}": Entry(
        b"d64.jpg", method=DEFLATE64
    ),
    f"failed: is compressed in a way that cannot be read (zstd); {PACK_AGAIN}": Entry(b"zstd.jpg", method=ZSTD),
    f"failed: is compressed in a way that cannot be read (xz); {PACK_AGAIN}": Entry(b"xz.jpg", method=XZ),
    f"failed: is compressed in a way that cannot be read (PPMd); {PACK_AGAIN}": Entry(b"ppmd.jpg", method=PPMD),
    f"failed: is compressed in a way that cannot be read (method 77); {PACK_AGAIN}": Entry(b"77.jpg", method=77),
    f"failed: is compressed in a way that cannot be read (a patch); {PACK_AGAIN}": Entry(b"patch.jpg", flags=0x20),
    "failed: is encrypted; pack it again without a password | ZipCrypto": encrypted(Entry(b"z.jpg", method=DEFLATE)),
    "failed: is encrypted; pack it again without a password | AES": aes_encrypted(b"aes.jpg"),
    "failed: is encrypted; pack it again without a password | AES without its flag": Entry(b"aes2.jpg", method=AES),
    "skipped: not an image | encrypted": encrypted(Entry(b"secret.txt", b"text")),
    f"{DAMAGED}Bad CRC-32": Entry(b"crc.jpg", crc32=1),
    f"{DAMAGED}Error -3 while decompressing data: invalid distance too far back": Entry(
        b"corrupt.jpg", method=DEFLATE, data=bytes.fromhex("4b04a20000")
    ),
    f"{DAMAGED}Invalid data stream | bzip2": Entry(b"corrupt bzip2.jpg", method=BZIP2, data=bytes(100)),
    f"{DAMAGED}no LZMA properties": Entry(b"corrupt lzma.jpg", method=LZMA, data=bytes(100)),
    f"{DAMAGED}declares {len(PHOTO)} bytes, has 0 | ends too early": Entry(b"short.jpg", method=DEFLATE, data=b""),
    f"{DAMAGED}declares {len(PHOTO) + 9} bytes, has {len(PHOTO)} | size too large": Entry(
        b"large.jpg", method=DEFLATE, size=len(PHOTO) + 9
    ),
    f"{DAMAGED}declares {len(PHOTO) - 9} bytes, has more | size too small": Entry(b"small.jpg", size=len(PHOTO) - 9),
    f"{DAMAGED}declares 9 bytes, and 100000 compressed": Entry(b"huge.jpg", b"", data=bytes(100_000), size=9),
    "failed: 4294967295 bytes are more than limits.member_mb (5)": Entry(b"4gb.jpg", size=0xFFFFFFFF),
    "failed: 9223372036854775807 bytes are more than limits.member_mb (5)": Entry(
        b"8eb.jpg", size=0xFFFFFFFF, extra=b"\1\0\x08\0" + (2**63 - 1).to_bytes(8, "little")
    ),
    f"{DAMAGED}there is no member where it should begin": Entry(b"nowhere.jpg", local_signature=bytes(4)),
    f"{DAMAGED}there is no member where it should begin | after the end": Entry(b"far.jpg", offset=0xFFFFFFF0),
    f"{DAMAGED}there is no member where it should begin | far after it": Entry(
        b"farther.jpg", zip64=True, offset=2**63 - 1
    ),
    f"{DAMAGED}there is no member where it should begin | farther still": Entry(
        b"farthest.jpg", zip64=True, offset=2**64 - 1
    ),
    f"{DAMAGED}there is another member where it should begin": Entry(b"name.jpg", local_name=b"eman.jpg"),
    "no_person | name that says UTF-8 and is not": Entry(b"caf\xe9.jpg", flags=UTF8),
    "skipped: not an image | nested ZIP": Entry(b"nested.zip", build([Entry(b"a.jpg")])),
    "skipped: folder": Entry(b"folder/", b""),
    "skipped: symbolic link": Entry(b"link.jpg", b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
}

OVERLAPPING = {
    "no_person | first of three with one header": Entry(b"one.jpg"),
    f"{OVERLAPS} | same name, same header": Entry(b"one.jpg", within=(0, 0)),
    f"{OVERLAPS} | and once more": Entry(b"one.jpg", within=(0, 0)),
    f"{OVERLAPS} | reaches into the next one": Entry(
        b"long.jpg", compressed_size=len(PHOTO) + 40, size=len(PHOTO) + 40
    ),
    "no_person | the one that is reached into": Entry(b"next.jpg"),
    f"{OVERLAPS} | has another one inside": Entry(b"outer.jpg", PHOTO + Entry(b"inner.jpg").local()),
    "no_person | inside another one": Entry(b"inner.jpg", within=(5, 39 + len(PHOTO))),
    f"{DAMAGED}there is another member where it should begin | other name, same header": Entry(
        b"two.jpg", within=(0, 0)
    ),
    f"{DAMAGED}does not end before the central directory": Entry(
        b"last.jpg", compressed_size=len(PHOTO) + 1, size=len(PHOTO) + 1
    ),
}


class Run:
    """Runs the job of one archive, and checks all that has to hold whatever is in it."""

    def __init__(self, crop: Crop, folder: Path) -> None:
        self._crop, self._folder = crop, folder

    def __call__(self, data: bytes, name: str = "bad.zip", **settings: Any) -> list[dict[str, str]]:
        """The manifest's first row of every member."""
        rows = first_rows(self.rows(data, name, **settings))
        for row in rows:
            if row["status"] == "no_person":
                assert (self._folder / "output" / row["file"]).read_bytes() == PHOTO
        return rows

    def rows(self, data: bytes, name: str, **settings: Any) -> list[dict[str, str]]:
        """The whole manifest."""
        path = self._folder / name
        path.write_bytes(data)
        before = files_below(self._folder)
        rows = self._crop(path, **settings)
        assert_only_results_written(before, self._folder, path.stem)
        return rows


@pytest.fixture
def run(crop: Crop, tmp_path: Path) -> Run:
    return Run(crop, tmp_path)


def outcomes(rows: list[dict[str, str]]) -> list[str]:
    return [": ".join(filter(None, (row["status"], row["reason"]))) for row in rows]


def test_every_member_ends_as_its_case_says(run: Run) -> None:
    rows = run(build(MEMBERS.values()), limits__member_mb=5)
    assert dict(zip(MEMBERS, outcomes(rows), strict=True)) == {case: outcome(case) for case in MEMBERS}
    undecodable = b"caf\xe9.jpg".decode("cp437")
    assert [row["member"] for row in rows] == [
        undecodable if entry.name.startswith(b"caf") else entry.name.decode() for entry in MEMBERS.values()
    ]


def test_overlapping_members_end_as_their_cases_say(run: Run) -> None:
    quoted = quoted_overlap([b"bomb 0.jpg", b"bomb 1.jpg", b"bomb 2.jpg"])
    for entry in quoted[1:]:
        assert entry.within
        entry.within = (len(OVERLAPPING) - 1, entry.within[1])
    cases = dict(list(OVERLAPPING.items())[:-1])
    cases |= {f"{OVERLAPS} | quotes the next": quoted[0], f"{OVERLAPS} | quotes the last": quoted[1]}
    cases |= {"no_person | quoted": quoted[2]}
    cases |= dict(list(OVERLAPPING.items())[-1:])
    rows = run(build(cases.values()))
    assert dict(zip(cases, outcomes(rows), strict=True)) == {case: outcome(case) for case in cases}


WHOLE = build([Entry(b"%d.jpg" % number, method=DEFLATE) for number in range(5)])
DIRECTORY = WHOLE.index(b"PK\1\2")
CUT_OFF = "is cut off at its end; download it again"
UNPACK = "unpack it and pack it again as an ordinary ZIP archive"
MISPLACED = "is a damaged ZIP archive: its central directory is not where it should be"
WEB_PAGE = "is not a ZIP archive, but a web page, such as a failed download leaves; download it again"
PART = "is one part of a split archive; join the parts into one ZIP archive"

ARCHIVES = {
    "is an empty file": b"",
    f"{CUT_OFF} | by a byte": WHOLE[:-1],
    f"{CUT_OFF} | in the directory": WHOLE[: DIRECTORY + 50],
    f"{CUT_OFF} | at half": WHOLE[: DIRECTORY // 2],
    f"{CUT_OFF} | after a member that is an archive": build([Entry(b"nested.zip", WHOLE), Entry(b"a.jpg")])[:-150],
    f"{WEB_PAGE} | HTML": b"<!DOCTYPE html>\n<html>404</html>",
    f"{WEB_PAGE} | HTML after a byte order mark": b"\xef\xbb\xbf \n<HTML>Sign in</HTML>",
    f"is not a ZIP archive, but a RAR archive; {UNPACK}": b"Rar!\x1a\x07\x01\x00" + bytes(99),
    f"is not a ZIP archive, but a 7z archive; {UNPACK}": b"7z\xbc\xaf\x27\x1c" + bytes(99),
    f"is not a ZIP archive, but gzip; {UNPACK}": b"\x1f\x8b\x08" + bytes(99),
    f"is not a ZIP archive, but a tar archive; {UNPACK}": b"a.jpg".ljust(257, b"\0") + b"ustar\x0000" + bytes(999),
    "is not a ZIP archive, but a PDF document": b"%PDF-1.7\n",
    "is not a ZIP archive, but a JPEG image": PHOTO,
    "is not a ZIP archive, but begins with zeros, as an interrupted download does; download it again": bytes(9999),
    "is not a ZIP archive, or is cut off at its end": b"some text",
    f"{PART} | the last": build([Entry(b"a.jpg")], disk=3),
    f"{PART} | the first": b"PK\7\x08" + WHOLE[:500],
    f"{MISPLACED} | overwritten": WHOLE[:DIRECTORY] + b"oops" + WHOLE[DIRECTORY + 4 :],
    f"{MISPLACED} | longer than the file": WHOLE[-22:-10] + b"\xff\xff\xff\x7f" + WHOLE[-6:],
    "is a damaged ZIP archive: its central directory is damaged after 2 members; download it again": WHOLE[
        : DIRECTORY + 2 * 51
    ]
    + b"oops"
    + WHOLE[DIRECTORY + 2 * 51 + 4 :],
    "is several ZIP archives in one file, or a damaged one; download it again, or unpack and pack it again": WHOLE * 2,
    "has 5 members, more than limits.members (4)": WHOLE,
    "has at least 5 members, more than limits.members (4) | says 1": WHOLE[:-14] + b"\1\0\1\0" + WHOLE[-10:],
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_bad_archive_has_one_row_with_the_reason(case: str, run: Run, tmp_path: Path) -> None:
    settings = {"limits__members": 4} if "limits.members" in case else {}
    (row,) = run.rows(ARCHIVES[case], "bad.zip", **settings)
    assert (row["member"], row["member_index"], row["status"], row["reason"]) == ("", "-1", "failed", outcome(case))
    assert (tmp_path / "output/Person/bad").is_dir()
    assert (tmp_path / "output/No_Person/bad").is_dir()


def test_no_person_in_an_archive_of_zip64_with_stub_comment_and_junk(run: Run) -> None:
    whole = build(
        [Entry(b"a.jpg", zip64=True), Entry(b"b.jpg", method=DEFLATE)],
        stub=b"#!/bin/sh\nexit\n",
        comment=b"PK\5\6 a comment ".ljust(50_000, b"."),
        zip64=True,
        trailing=b"\r\n" * 1000,
    )
    assert outcomes(run(whole)) == ["no_person"] * 2


def test_an_archive_without_members_has_an_empty_manifest(run: Run) -> None:
    assert run(build([])) == []


def test_more_members_than_65535(run: Run) -> None:
    names = [b"%d.txt" % number for number in range(66_000)] + [b"a.jpg"]
    rows = run(build(Entry(name, PHOTO if name == b"a.jpg" else b"") for name in names))
    assert [row["member"].encode() for row in rows] == names
    assert set(outcomes(rows[:-1])) == {"skipped: not an image"}
    assert outcomes(rows[-1:]) == ["no_person"]


def test_an_archive_that_is_all_encrypted(run: Run) -> None:
    rows = run(build([encrypted(Entry(b"a.jpg")), aes_encrypted(b"b.jpg")]))
    assert outcomes(rows) == ["failed: is encrypted; pack it again without a password"] * 2


def failed(crop: Crop, path: Path) -> str:
    (row,) = crop(path)
    assert (row["member_index"], row["status"]) == ("-1", "failed")
    return row["reason"]


def test_what_is_no_file_fails_as_an_archive(tmp_path: Path, crop: Crop) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "gone.zip")
    (tmp_path / "circle.zip").symlink_to(tmp_path / "circle.zip")
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "device.zip").symlink_to("/dev/null")
    reasons = {name: failed(crop, tmp_path / f"{name}.zip") for name in ("pipe", "folder", "device")}
    assert set(reasons.values()) == {"is not a regular file"}
    reasons = {name: failed(crop, tmp_path / f"{name}.zip") for name in ("dangling", "circle")}
    assert set(reasons.values()) == {"is a symbolic link to a file that is not there"}


def test_a_link_to_an_archive_is_one(tmp_path: Path, crop: Crop) -> None:
    (tmp_path / "data").write_bytes(build([Entry(b"a.jpg")]))
    (tmp_path / "link.zip").symlink_to(tmp_path / "data")
    assert outcomes(crop(tmp_path / "link.zip")) == ["no_person"]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.EACCES, "Permission denied while .*; give yourself access"), (errno.EIO, "Input/output error while .*")],
)
def test_a_fault_of_the_machine_fails_the_job(
    number: int, sentence: str, tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "good.zip"
    path.write_bytes(WHOLE)
    really_open = os.open

    def open_file(file: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(file) == str(path):
            raise OSError(number, os.strerror(number), str(path))
        return really_open(file, *arguments, **options)

    monkeypatch.setattr(os, "open", open_file)  # no permission stops root, who may run the tests
    with pytest.raises(MachineError, match=sentence) as stopped:
        crop(path)
    assert "good.zip" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "output" / "manifests" / "good.csv").exists()


@pytest.mark.slow
def test_a_million_members(tmp_path: Path, run: Run) -> None:
    names = [b"DCIM/%03d/IMG_%07d.%s" % (n // 1000, n, b"jpg" if n % 100_000 == 0 else b"txt") for n in range(10**6)]
    data = build(Entry(name, PHOTO if name.endswith(b"jpg") else b"") for name in names)
    rows = run(data)
    assert len(rows) == 10**6
    assert outcomes(rows[::100_000]) == ["no_person"] * 10
    del rows
    (row,) = run.rows(data, "over.zip", limits__members=999_999)
    assert row["reason"] == "has 1000000 members, more than limits.members (999999)"
