"""Bad input through the real crop job. A case's name is the outcome that is expected of it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support import encoded, make_zip

Crop = Callable[..., list[dict[str, str]]]
GOOD = ("good.jpg", encoded("zidane"))

MEMBERS = {
    "failed: the file is empty": ("a.jpg", b""),
    "failed: cannot be decoded: not a known format": ("a.jpg", b"<html>not a photo</html>"),
    "failed: cannot be decoded: damaged, cut off or of an unsupported kind": ("a.png", encoded("bus", ".png")[:5000]),
    "failed: 5000001 bytes are more than limits.member_mb (5)": ("a.jpg", bytes(5_000_001)),
    "failed: 20000x20000 pixels are more than limits.megapixels (100)": (
        "a.png",
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in (
                (b"IHDR", struct.pack(">2I5B", 20000, 20000, 8, 2, 0, 0, 0)),
                (b"IDAT", zlib.compress(bytes(1000))),
                (b"IEND", b""),
            )
        ),
    ),
    "skipped: folder": ("dir/", b""),
    "skipped: not an image": ("notes.txt", b"text"),
    "skipped: not an image (by content)": (".DS_Store", b"\0\0\0\1Bud1"),
    "skipped: macOS metadata": ("__MACOSX/._a.jpg", b"\0\5\x16\7"),
    "person: ": ("no suffix", encoded("zidane")),
    "no_person: ": ("a.webp", encoded("empty", ".webp")),
}

ARCHIVES = {
    "is an empty file": b"",
    "is not a ZIP archive, or is cut off at its end": b"<html>404</html>",
}


def test_every_member_ends_as_its_name_says(tmp_path: Path, crop: Crop) -> None:
    path = make_zip(tmp_path / "bad.zip", [GOOD, *MEMBERS.values(), GOOD])
    # Encryption and damage cannot be made with a writer.
    expected = ["person: ", *MEMBERS, "person: "]
    rows = crop(path, limits__member_mb=5)
    first = {int(row["member_index"]): row for row in reversed(rows)}
    outcomes = [f"{first[index]['status']}: {first[index]['reason']}" for index in range(len(expected))]
    assert outcomes == [outcome.removesuffix(" (by content)") for outcome in expected]


def test_encrypted_and_damaged_members_fail_alone(tmp_path: Path, crop: Crop) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("encrypted.jpg", "aes.jpg", "damaged.jpg", "good.jpg"):
            file.writestr(name, GOOD[1])
        file.getinfo("encrypted.jpg").flag_bits |= 1
        file.getinfo("aes.jpg").compress_type = 99
        offset = file.getinfo("damaged.jpg").header_offset
    data = bytearray(path.read_bytes())
    data[offset + 500 : offset + 520] = bytes(20)
    path.write_bytes(data)
    rows = {row["member"]: row for row in crop(path)}
    assert rows["encrypted.jpg"]["reason"] == "is encrypted"
    assert rows["aes.jpg"]["reason"] == "is compressed in a way that cannot be read (AES encryption)"
    assert rows["damaged.jpg"]["reason"].startswith("is damaged: ")
    assert [rows[name]["status"] for name in rows] == ["failed", "failed", "failed", "person"]


@pytest.mark.parametrize("reason", ARCHIVES)
def test_a_bad_archive_has_one_row(reason: str, tmp_path: Path, crop: Crop) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(ARCHIVES[reason])
    (row,) = crop(path)
    assert (row["member"], row["member_index"], row["status"], row["reason"]) == ("", "-1", "failed", reason)
    assert (tmp_path / "output/Person/bad").is_dir() and (tmp_path / "output/No_Person/bad").is_dir()


def test_a_truncated_archive_has_one_row(tmp_path: Path, crop: Crop) -> None:
    path = make_zip(tmp_path / "bad.zip", [GOOD, GOOD])
    path.write_bytes(path.read_bytes()[:-100])
    (row,) = crop(path)
    assert (row["status"], row["reason"]) == ("failed", "is not a ZIP archive, or is cut off at its end")


def test_an_archive_without_members_has_an_empty_manifest(tmp_path: Path, crop: Crop) -> None:
    assert crop(make_zip(tmp_path / "empty.zip", [])) == []
