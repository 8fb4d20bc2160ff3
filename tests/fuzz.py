"""Mutated archives and images, and what has to hold of them in every layer; as a script, for as long as one likes.

    PYTHONPATH=workflow/scripts:tests .venv/bin/python tests/fuzz.py --seconds 900 --seed 1 --save failures

tries inputs for 15 minutes, leaves each one that fails in the folder `failures`, beside the reason in a text file, and
ends with status 1 if there is any. `--layers archive image` leaves whole jobs out; `--extra FOLDER` mutates the
archives and images of a folder of one's own, too. What was saved is tried again with `--replay failures/*.bin`.

An input is a seed, which is well-formed, and edits. An edit is numbers alone, so that whoever draws them need not know
what they mean: here that is `random`, in `badinput/test_fuzz.py` it is Hypothesis.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).resolve().parent / "badinput")]

import cv2
import images
import numpy as np
from archives import (
    BZIP2,
    DEFLATE,
    LZMA,
    PERSON,
    PHOTO,
    PNG,
    UTF8,
    Entry,
    assert_only_results_written,
    build,
    encrypted,
    files_below,
    first_rows,
    quoted_overlap,
)

from helpers.support import ROOT, SETTINGS, WEIGHTS, read_csv
from zipcrop.archive.directory import locate
from zipcrop.archive.reader import Archive, ArchiveError, Limits, Member, MemberError, NotAnImage
from zipcrop.archive.source import LocalFile, LocalZip
from zipcrop.image import codec, jpeg

Edit = tuple[int, int, int, int]
"""What to do, where, how much, and with which number; each from 0 to 65535."""
LIMITS = Limits(member_mb=1, megapixels=4, members=1000)
SECONDS = 60.0
"""The longest that anything may take; far more than it does, for machines that do other things as well."""
_TAIL = 4096
_NUMBERS = (0, 1, 2, 4, 8, 0x14, 0x2D, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000)
_LARGE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
# Signatures of ZIP, and the sizes of the fields that follow.
_FIELDS = {
    b"PK\1\2": "1111222244422222" + "44",
    b"PK\3\4": "2222244422",
    b"PK\5\6": "2222442",
    b"PK\6\6": "8224488" + "88",
    b"PK\6\7": "484",
    b"PK\7\x08": "444",
}
_EXTRA_LENGTH = {b"PK\1\2": (46, 28, 30), b"PK\3\4": (30, 26, 28)}


# -- Mutations ------------------------------------------------------------------------------------------------------
def mutate(data: bytes, edits: Sequence[Edit], fields: Callable[[bytes], list[tuple[int, int]]], other: bytes) -> bytes:
    """`data` after `edits`; `fields` finds the numbers in its headers (offset and size), `other` is what parts are
    taken from."""
    for kind, where, length, number in edits:
        if data:
            data = _EDITS[kind % len(_EDITS)](data, where, length, number, fields, other)
    return data


def _place(data: bytes, where: int) -> int:
    """Anywhere; half of the time near the beginning or the end, where headers are."""
    part, where = where % 4, where // 4
    if part == 0:
        return min(where % 256, len(data) - 1)
    if part == 1:
        return max(0, len(data) - 1 - where % _TAIL)
    return where * len(data) >> 14


def _span(length: int, data: bytes) -> int:
    """Mostly short."""
    return 1 + (length >> 4) % (8, 64, 1024, len(data))[length % 4]


def _truncate(data: bytes, where: int, length: int, *_: Any) -> bytes:
    at = _place(data, where)
    return data[at:] if length % 4 == 0 else data[:at]


def _flip(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    edited = bytearray(data)
    edited[_place(data, where)] ^= 1 << number % 8
    return bytes(edited)


def _set_byte(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    edited = bytearray(data)
    edited[_place(data, where)] = number % 256
    return bytes(edited)


def _set_number(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    size = (1, 2, 4, 8)[length % 4]
    at = _place(data, where)
    value = _interesting(data, data[at : at + size], number, "big" if length & 4 else "little")
    return data[:at] + value + data[at + size :]


def _set_field(data: bytes, where: int, length: int, number: int, fields: Any, *_: Any) -> bytes:
    if not (places := fields(data)):
        return data
    at, size = places[where % len(places)]
    return data[:at] + _interesting(data, data[at : at + size], number, "little") + data[at + size :]


def _interesting(data: bytes, old: bytes, number: int, order: Any) -> bytes:
    kind, number = number % 4, number // 4
    now = int.from_bytes(old, order)
    if kind == 0:
        value = _NUMBERS[number % len(_NUMBERS)]
    elif kind == 1:
        value = _LARGE[number % len(_LARGE)]
    elif kind == 2:
        value = now + (1, -1, 2, -2, 46, -46, 30, 22, 0x10000, now)[number % 10]
    else:
        value = (len(data), len(data) - 22, data.find(b"PK\1\2"), data.rfind(b"PK\3\4"), number)[number % 5]
    return (value % (1 << 8 * len(old))).to_bytes(len(old), order)


def _duplicate(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at, to = _place(data, where), _place(data, number)
    return data[:to] + data[at : at + _span(length, data)] + data[to:]


def _delete(data: bytes, where: int, length: int, *_: Any) -> bytes:
    at = _place(data, where)
    return data[:at] + data[at + _span(length, data) :]


def _copy_over(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at, to = _place(data, where), _place(data, number)
    part = data[at : at + _span(length, data)]
    return data[:to] + part + data[to + len(part) :]


def _zero(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at = _place(data, where)
    size = min(_span(length, data), len(data) - at)
    return data[:at] + (b"\xff" if number % 4 == 0 else b"\0") * size + data[at + size :]


def _noise(data: bytes, where: int, length: int, number: int, *_: Any) -> bytes:
    at = _place(data, where)
    size = min(_span(length, data), 64)
    return data[:at] + random.Random(number).randbytes(size) + data[at + (size if number % 2 else 0) :]


def _splice(data: bytes, where: int, length: int, number: int, fields: Any, other: bytes) -> bytes:
    at, there = _place(data, where), _place(other, number)
    size = _span(length, other)
    return data[:at] + other[there : there + size] + data[at + (size if length & 8 else 0) :]


_EDITS: list[Callable[..., bytes]] = [
    _truncate,
    _flip,
    _flip,
    _set_byte,
    _set_number,
    _set_field,
    _set_field,
    _set_field,
    _set_field,
    _duplicate,
    _delete,
    _copy_over,
    _zero,
    _noise,
    _splice,
]


def zip_fields(data: bytes) -> list[tuple[int, int]]:
    """Offset and size of every number in the headers of a ZIP archive, those in extra fields included."""
    found = []
    for signature, sizes in _FIELDS.items():
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            place = at + 4
            for size in map(int, sizes):
                found.append((place, size))
                place += size
            if signature in _EXTRA_LENGTH and place <= len(data):
                begin, name, extra = _EXTRA_LENGTH[signature]
                begin += at + int.from_bytes(data[at + name : at + name + 2], "little")
                end = begin + int.from_bytes(data[at + extra : at + extra + 2], "little")
                found += [(begin, 2), (begin + 2, 2)] if end > begin else []
                found += [(place, 8) for place in range(begin + 4, min(end, begin + 36), 8)]
    return [(at, size) for at, size in found if at + size <= len(data)]


def image_fields(data: bytes) -> list[tuple[int, int]]:
    """Some numbers in the headers of an image: the first ones, and those behind whatever may be a box or a chunk."""
    found = [(at, 2) for at in range(0, min(len(data), 64), 2)] + [(at, 4) for at in range(0, min(len(data), 64), 4)]
    for name in (b"ispe", b"iloc", b"infe", b"hvcC", b"av1C", b"IHDR", b"VP8", b"ANIM", b"\xff\xc0", b"\xff\xc2"):
        at = -1
        while (at := data.find(name, at + 1)) >= 0:
            found += [(at + step, size) for step in range(-4, 20, 2) for size in (1, 2, 4)]
    for name in (b"\xff\xda", b"\xff\xdb", b"\xff\xc4", b"\xff\x51", b"\xff\x52", b"\xff\x90", b"IDAT", b"acTL"):
        at = data.find(name)
        found += [(at + step, size) for step in range(-4, 20, 2) for size in (1, 2, 4)] if at >= 0 else []
    return [(at, size) for at, size in found if at >= 0 and at + size <= len(data)]


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks' checksums are made right, as far as they follow on one another: what has another does not
    come far."""
    fixed, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        struct.pack_into(">I", fixed, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(fixed)


# -- Seeds ----------------------------------------------------------------------------------------------------------
@functools.cache
def archive_seeds() -> list[bytes]:
    """Small archives, each with something of its own."""
    unicode_path = struct.pack("<2HBL", 0x7075, 5 + len("ä.jpg".encode()), 1, zlib.crc32(b"u.jpg")) + "ä.jpg".encode()
    plain = [
        Entry(b"a.jpg"),
        Entry(b"folder/", b""),
        Entry(b"folder/b.jpg", method=DEFLATE),
        Entry(b"c", PNG, method=BZIP2),
        Entry(b"d.png", PNG, method=LZMA),
        Entry(b"notes.txt", b"text" * 50, method=DEFLATE),
    ]
    streamed = [
        Entry(b"a.jpg", method=DEFLATE, descriptor=b"PK\7\x08"),
        Entry(b"b.jpg", descriptor=b""),
        Entry(b"b.jpg", descriptor=b"PK\7\x08"),
    ]
    named = [
        Entry("ä.jpg".encode(), flags=UTF8),
        Entry(b"\x84.jpg", local_extra=b"\xfe\xca\4\0abcd"),
        Entry(b"u.jpg", extra=unicode_path, local_extra=unicode_path),
        Entry(b"z.jpg\0.txt"),
        Entry(b"../up\\back.jpg"),
    ]
    zip64 = [Entry(b"a.jpg", zip64=True), Entry(b"b.jpg", method=DEFLATE, zip64=True), Entry(b"c.jpg")]
    inner = build([Entry(b"inner.jpg")])
    return [
        build(plain),
        build(streamed),
        build(named, comment=b"PK\5\6 a comment " * 3),
        build(zip64, zip64=True),
        build(zip64, stub=b"#!/bin/sh\n", zip64=True, trailing=bytes(30)),
        build([Entry(b"a.jpg"), Entry(b"inner.zip", inner), Entry(b"b.jpg")]),
        build([Entry(b"inner.zip", inner), encrypted(Entry(b"secret.jpg"))]),
        build(plain[:3], stub=bytes(50)),
        build(quoted_overlap([b"0.jpg", b"1.jpg", b"2.jpg"])),
        build([]),
        build([Entry(b"a.jpg")]) + build([Entry(b"b.jpg")]),
    ]


@functools.cache
def image_seeds() -> list[bytes]:
    """Small images of all formats that are decoded."""
    small = images.bus().resize((60, 80))
    saved = images.saved
    seeds = [saved(small, kind) for kind in ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "jpeg2000", "ppm")]
    return [
        *seeds,
        saved(small, "jpeg", progressive=True),
        saved(small, "jpeg", exif=images.exif(6)),
        saved(small.convert("CMYK"), "jpeg"),
        saved(small.convert("P"), "png"),
        saved(small.convert("RGBA"), "png", exif=images.exif(6)),
        saved(small.convert("RGBA"), "webp", lossless=True),
        saved(small, "webp", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "gif", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "png", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "tiff", compression="tiff_lzw"),
        saved(small, "tiff", compression="jpeg"),
        saved(small, "tiff", compression="tiff_adobe_deflate", exif=images.exif(6)),
        saved(small.convert("1"), "tiff", compression="group4"),
        saved(small.convert("RGBA"), "avif"),
        saved(small.convert("LA"), "jpeg2000"),
        saved(small, "jpeg2000", no_jp2=True, irreversible=True),
        saved(small.convert("P"), "bmp"),
        images.heic(_small_bus),
        images.heic(_small_bus, tile_size=64),
        images.heic(_small_bus_with_alpha),
        b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12\n",
        b"P1 2 2 1 0 0 1\n",
        *(cv2.imencode(suffix, np.asarray(small))[1].tobytes() for suffix in (".ras", ".pfm", ".hdr", ".pam")),
        *(cv2.imencode(suffix, np.asarray(small).astype("u2") * 257)[1].tobytes() for suffix in (".png", ".tiff")),
        saved(small.convert("L"), "ppm"),
        _bmp_of_run_lengths(),
        images.arithmetic_jpeg(),
    ]


def _bmp_of_run_lengths() -> bytes:
    """By hand, since no library here writes it."""
    palette = bytes(range(256)) * 4
    pixels = b"".join(bytes([8, row, 0, 0]) for row in range(7)) + b"\0\x04abcd\4\1\0\0\0\2\1\0\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    place = 14 + len(header) + len(palette)
    return struct.pack("<2sIII", b"BM", place + len(pixels), 0, place) + header + palette + pixels


def _small_bus() -> Any:
    return images.bus().resize((90, 120))


def _small_bus_with_alpha() -> Any:
    return _small_bus().convert("RGBA")


# -- Archives -------------------------------------------------------------------------------------------------------
@dataclass
class Reference:
    """A member as `zipfile` has it."""

    info: zipfile.ZipInfo
    data: bytes | None
    """None where it cannot be read, or is beyond the limits."""


def reference(path: Path) -> tuple[list[Reference], int]:
    """What `zipfile` makes of an archive, and where it has found the directory; nothing if it does not open it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [Reference(info, _zipfile_read(archive, info)) for info in archive.infolist()]
            return members, archive.start_dir  # type: ignore[attr-defined]
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
    import copy

    stored = copy.copy(info)
    stored.compress_type = zipfile.ZIP_STORED
    stored.file_size = 9
    stored.CRC = None  # type: ignore[assignment]
    return stored


def check_archive(data: bytes, folder: Path) -> str:
    """Reads `data` as an archive, and fails if that raises what it must not, takes long or takes much memory, or if
    `zipfile` reads what we do not. Gives the outcome, for statistics."""
    path = folder / "fuzzed.zip"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        started = time.monotonic()
        members, contents, refusal = _read_all(path)
        seconds, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < SECONDS, f"takes {seconds:.1f} s"
    # A member takes its compressed bytes and twice its own, while the last piece is put to the others.
    assert peak < 4e6 * LIMITS.member_mb + 10 * len(data) + 2e6, f"takes {peak} bytes for {len(data)}"
    assert LocalZip(str(path)).fingerprint() == LocalZip(str(path)).fingerprint() != "unreadable"
    expected, place = reference(path)
    if not any(member.data is not None for member in expected):
        return f"archive: zipfile reads no member either: {refusal[:40] or 'opened'}"
    if refusal:
        _assert_documented_refusal(refusal, data, expected)
        return f"archive: documented: {refusal[:40]}"
    if place != _place_of_directory(path):
        # The last end record is passed over, and a comment or member has another one before it.
        assert _says_split(data) or _ends_in_the_middle(data)
        return "archive: another directory"
    differences = {_compare(*pair, data) for pair in _pairs(members, contents, expected)}
    return "archive: " + (", ".join(sorted(differences - {""})) or "same")


def _place_of_directory(path: Path) -> int:
    with contextlib.closing(LocalFile(str(path))) as file:
        return locate(file).start


def _ends_in_the_middle(data: bytes) -> bool:
    """Whether the last end record is that of a member in what is left of the archive around it."""
    at = data.rfind(b"PK\5\6")
    length = int.from_bytes(data[at + 20 : at + 22], "little")
    return data[at + 22 + length :].startswith((b"PK\1\2", b"PK\3\4"))


Content = bytes | MemberError | NotAnImage


def _read_all(path: Path) -> tuple[list[Member], list[Content], str]:
    """Members, and content of each or why it is refused; or why the archive is."""
    try:
        with Archive(str(path), LIMITS) as archive:
            members = archive.members()
            assert [member.index for member in members] == list(range(len(members)))
            return members, [_read(archive, member) for member in members], ""
    except ArchiveError as error:
        return [], [], _sentence(error)


def _read(archive: Archive, member: Member) -> Content:
    assert 0 <= archive.memory(member.index) <= 3 * LIMITS.member_mb * 1e6 + (1 << 16)
    try:
        data = archive.read(member.index)
    except (MemberError, NotAnImage) as error:
        _sentence(error)
        return error
    assert (len(data), zlib.crc32(data)) == (member.size, member.crc32)
    return data


def _sentence(error: Exception) -> str:
    """The message, which has to be words on one line."""
    text = str(error)
    assert text and text.isprintable(), repr(text)
    return text


def _assert_documented_refusal(refusal: str, data: bytes, expected: list[Reference]) -> None:
    """Why a whole archive may be refused that `zipfile` opens:

    - it has more members than `limits.members`;
    - it says that it is a part of a split archive, which `zipfile` does not look at;
    - it begins with another archive, whose members nobody would account for;
    - its end record is that of a member in what is left of the archive around it;
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
        assert member.name.encode() in info.extra and b"\x75\x70" in info.extra, (member, info)
        difference = "Unicode path"
    if expected.data is None:
        return difference
    if isinstance(content, bytes):
        assert content == expected.data, member
        return difference
    if isinstance(content, NotAnImage):
        assert expected.data.startswith(b"\0\5\x16\7") or (
            not codec.has_suffix(member.name) and not codec.begins_like_image(expected.data)
        ), (member, content)
        return difference
    reason = str(content)
    if reason == codec.unsupported(member.name, expected.data):
        return "unsupported"
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


# -- Images ---------------------------------------------------------------------------------------------------------
_LARGEST_CHILD = 9e8
"""Bytes. Most formats take a fraction; OpenJPEG takes 10 kB for each of up to 65535 tiles, however small."""


class Crashed(AssertionError):
    """A decoder crashed or hung."""


class Decoder:
    """A process of its own that decodes images, since a decoder may crash or hang."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None

    def check(self, data: bytes) -> str:
        """Decodes `data`, and fails if that crashes, hangs, takes much memory, raises what it must not, or gives no
        picture. Gives the outcome, for statistics."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_decode_what_comes, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            assert self._connection.poll(2 * SECONDS) and self._connection.recv() == "ready"
        self._connection.send_bytes(data)
        if not self._connection.poll(SECONDS):
            self.__exit__()
            raise Crashed(f"not decoded within {SECONDS} s")
        try:
            outcome, error, peak = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.__exit__()
            if code == -signal.SIGSEGV and b"acTL" in data:
                return "image: crashes OpenCV, as is known (see images.apng_that_crashes_opencv)"
            raise Crashed(f"the decoder ended with status {code}") from None
        if peak > _LARGEST_CHILD:
            self.__exit__()
            raise Crashed(f"takes {peak / 1e6:.0f} MB")
        assert not error, error
        return f"image: {outcome}"


def _decode_what_comes(connection: Connection) -> None:
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(int(LIMITS.megapixels * 1e6))
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)  # what decoders say of every one of thousands of images
    import cv2

    cv2.setNumThreads(1)
    connection.send("ready")
    while True:
        try:
            data = connection.recv_bytes()
        except EOFError:
            return
        try:
            outcome, error = _decode(data), ""
        except codec.ImageError as refused:
            outcome, error = _sentence(refused)[:60], ""
        except MemoryError:
            outcome, error = "MemoryError", ""
        except Exception:
            outcome, error = "", traceback.format_exc()
        connection.send((outcome, error, _peak_bytes()))


def _peak_bytes() -> int:
    """Of this process. Not that of getrusage, which begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _decode(data: bytes) -> str:
    """As a worker does it."""
    codec.unsupported("a.jpg", data)
    codec.begins_like_image(data)
    declared = codec.header_size(data)
    assert declared is None or min(declared) > 0, declared
    if declared and declared[0] * declared[1] > LIMITS.megapixels * 1e6:
        return "refused for its size"
    pixels = codec.decode(data)
    height, width, channels = pixels.shape
    assert (pixels.dtype, channels) == ("uint8", 3) and min(height, width) > 0, (pixels.dtype, pixels.shape)
    assert width * height <= LIMITS.megapixels * 1e6, f"declares {declared}, has {width}x{height}"
    if declared and sorted(declared) != sorted((width, height)):
        return f"{data[:4]!r} of another size than it declares"
    if jpeg.is_jpeg(data):
        for reduction in (2, 4, 8):
            reduced = codec.decode(data, reduction).shape
            assert reduced == (-(-height // reduction), -(-width // reduction), 3), (pixels.shape, reduction, reduced)
    return "decoded"


# -- Whole jobs -----------------------------------------------------------------------------------------------------
def job_archive(mutated_images: Sequence[bytes], edits: Sequence[Edit], draw: int) -> bytes:
    """An archive of `mutated_images` and well-formed ones, in which `edits` are made where the archive still opens."""
    methods = (0, DEFLATE, BZIP2, LZMA)
    names = (b"%d.jpg", b"%d", b"folder/%d.heic", b"../%d.png", b"same.jpg", b"Same.JPG", b"%d.jpg\xff", b"a.jpg/%d")
    entries = [
        Entry(
            names[(index + draw) % len(names)].replace(b"%d", str(index).encode()),
            content,
            method=methods[(index * 7 + draw) % len(methods)],
            zip64=index % 5 == 4,
        )
        for index, content in enumerate(mutated_images)
    ]
    data = build([Entry(b"person.jpg", PERSON), *entries, Entry(b"end.jpg", PHOTO), Entry(b"person.png", PERSON)])
    for edit in edits:
        edited = mutate(data, [edit], zip_fields, archive_seeds()[0])
        with contextlib.suppress(ArchiveError), tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(edited)
            with Archive(file.name, LIMITS) as archive:
                data = edited if archive.members() else data
    return data


JOB_SETTINGS = {"limits.member_mb": LIMITS.member_mb, "limits.megapixels": LIMITS.megapixels}


def check_job(data: bytes, folder: Path, archive: str, run: Callable[[Path], list[dict[str, str]]]) -> str:
    """Puts `data` as `<archive>.zip` into `folder`, lets `run` do the job into `folder / "output"`, and
    fails unless every member and every file is accounted for."""
    path = folder / f"{archive}.zip"
    path.write_bytes(data)
    before = files_below(folder)
    rows = run(path)
    assert_only_results_written(before, folder, archive)
    assert_accounted(rows, folder / "output", archive)
    if rows and rows[0]["member_index"] == "-1":
        return f"job: {rows[0]['reason'][:40]}"
    with Archive(str(path), LIMITS) as opened:
        members = opened.members()
    assert [row["member"] for row in first_rows(rows)] == [member.name for member in members]
    statuses = Counter(row["status"] for row in first_rows(rows))
    return "job: with " + ", ".join(sorted(statuses))


def assert_accounted(rows: list[dict[str, str]], output: Path, archive: str) -> None:
    """Every member once, every file in one row, and no other file."""
    if [row["member_index"] for row in rows] == ["-1"]:
        assert (rows[0]["status"], rows[0]["file"]) == ("failed", "")
    else:
        members = first_rows(rows)
        counts = Counter(row["status"] for row in members)
        assert sum(counts[s] for s in ("person", "no_person", "rejected", "failed", "skipped")) == len(members)
    files = [row["file"] for row in rows if row["file"]]
    there = {
        path.relative_to(output).as_posix()
        for place in ("Person", "No_Person")
        for path in (output / place / archive).rglob("*")
        if path.is_file()
    }
    assert sorted(files) == sorted(there), set(files) ^ there
    persons = [row for row in rows if row["status"] == "person"]
    assert len(persons) == sum(file.startswith("Person/") for file in there)
    for row in rows:
        assert (row["file"] != "") == (row["status"] in ("person", "no_person")), row
        assert (row["reason"] != "") == (row["status"] in ("rejected", "failed", "skipped")), row
        assert row["reason"].isprintable(), row


# -- By hand --------------------------------------------------------------------------------------------------------
class _Fuzzer:
    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._draw = random.Random(arguments.seed)
        self._save: Path = arguments.save
        self._layers: list[str] = arguments.layers
        self._folder = folder
        self._archives, self._images = list(archive_seeds()), list(image_seeds())
        for path in sorted(arguments.extra.rglob("*") if arguments.extra else ()):
            if path.suffix.lower() == ".zip":
                self._archives.append(_beginning_of(path))
                self._images += _members_of(path)
            elif path.is_file() and codec.has_image_suffix(path.name):
                self._images.append(path.read_bytes())
        self.tried: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}

    def run(self, seconds: float) -> None:
        """Tries inputs of all layers in turn."""
        end = time.monotonic() + seconds
        reported = time.monotonic()
        # A job takes seconds, an archive or image milliseconds.
        rounds = {"archive": 500, "image": 500, "job": 1}
        with Decoder() as decoder:
            while time.monotonic() < end:
                for layer in self._layers:
                    for _ in range(rounds[layer]):
                        if time.monotonic() < end:
                            self._try(layer, self._input(layer), decoder)
                if time.monotonic() - reported > 60:
                    reported = time.monotonic()
                    print(f"{dict(self.tried)} tried, {self.failures.total()} failures", flush=True)

    def replay(self, files: Sequence[Path]) -> None:
        """Tries what was saved."""
        with Decoder() as decoder:
            for file in files:
                self._try(file.name.split("-")[0], file.read_bytes(), decoder)

    def _input(self, layer: str) -> bytes:
        draw = self._draw
        if layer == "archive":
            seed, other = draw.choices(self._archives, k=2)
            return mutate(seed, self._edits(), zip_fields, other)
        if layer == "image":
            return self._image()
        return job_archive([self._image() for _ in range(40)], self._edits(), draw.randrange(1 << 16))

    def _image(self) -> bytes:
        seed, other = self._draw.choices(self._images, k=2)
        data = mutate(seed, self._edits(), image_fields, other)
        return with_right_checksums(data) if data.startswith(b"\x89PNG") and self._draw.random() < 0.8 else data

    def _edits(self) -> list[Edit]:
        draw = self._draw.randrange
        return [(draw(1 << 16), draw(1 << 16), draw(1 << 16), draw(1 << 16)) for _ in range(draw(1, 6))]

    def _try(self, layer: str, data: bytes, decoder: Decoder) -> None:
        self.tried[layer] += 1
        started = time.monotonic()
        try:
            if layer == "archive":
                outcome = check_archive(data, self._folder)
            elif layer == "image":
                outcome = decoder.check(data)
            else:
                outcome = self._job(data)
        except Exception as error:  # whatever it is, it is a finding
            what = f"{type(error).__name__}: {error}"
            digest = hashlib.sha256(data).hexdigest()[:12]
            self.failures[f"{layer}: {what.strip().splitlines()[-1][:150]}"] += 1
            self._save.mkdir(parents=True, exist_ok=True)
            (self._save / f"{layer}-{digest}.bin").write_bytes(data)
            (self._save / f"{layer}-{digest}.txt").write_text(traceback.format_exc(), errors="backslashreplace")
        else:
            self.outcomes[outcome] += 1
        self.slowest[layer] = max(self.slowest.get(layer, 0), time.monotonic() - started)

    def _job(self, data: bytes) -> str:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            return check_job(data, Path(name), "fuzzed", functools.partial(self._run_job, Path(name)))

    def _run_job(self, folder: Path, path: Path) -> list[dict[str, str]]:
        model = self._folder / "model.json"
        if not model.exists():
            prepare = [sys.executable, ROOT / "workflow/scripts/prepare_model.py"]
            subprocess.run([*prepare, f"--weights={WEIGHTS}", f"--target={model}"], check=True)
        command = [
            *(
                "--archive",
                "fuzzed",
                "--zip",
                path,
                "--fingerprint",
                LocalZip(str(path)).fingerprint(),
                "--model",
                model,
            ),
            *("--output", folder / "output", "--log", folder / "logs" / "log.txt"),
            *("--settings", json.dumps({**SETTINGS, **JOB_SETTINGS, "decode": self._draw.choice(("exact", "fast"))})),
            *(
                "--speed",
                json.dumps({"device": "cpu", "engine": "openvino", "batch": 16, "workers": 1, "gpus_per_archive": 1}),
            ),
            *("--threads", "2"),
        ]
        done = subprocess.run(
            [sys.executable, ROOT / "workflow/scripts/crop_archive.py", *command],
            capture_output=True,
            text=True,
            timeout=10 * SECONDS,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return read_csv(folder / "output" / "manifests" / "fuzzed.csv")


def _beginning_of(path: Path, count: int = 3) -> bytes:
    """An archive of the first members of that at `path`, each as it is, but for its header."""
    with zipfile.ZipFile(path) as archive:
        return build([Entry(info.filename.encode(), archive.read(info)) for info in archive.infolist()[:count]])


def _members_of(path: Path, count: int = 10) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if codec.has_image_suffix(info.filename)]
        return [archive.read(info) for info in members[:: max(1, len(members) // count)][:count]]


def main() -> int:
    parser = argparse.ArgumentParser(description="Tries mutated archives and images.")
    parser.add_argument("--seconds", type=float, default=900, help="how long (default: 900)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument("--save", type=Path, default=Path("failures"), help="folder for inputs that fail")
    parser.add_argument("--layers", nargs="+", choices=("archive", "image", "job"), default=["archive", "image", "job"])
    parser.add_argument("--extra", type=Path, help="folder with archives and images to mutate, too")
    parser.add_argument("--replay", type=Path, nargs="+", help="saved inputs to try again, and nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = _Fuzzer(arguments, Path(folder))
        if arguments.replay:
            fuzzer.replay(arguments.replay)
        else:
            fuzzer.run(arguments.seconds)
    for outcome, count in fuzzer.outcomes.most_common():
        print(f"{count:8} {outcome}")
    slowest = {layer: round(seconds, 2) for layer, seconds in fuzzer.slowest.items()}
    print(f"tried: {dict(fuzzer.tried)}; slowest, in seconds: {slowest}; failures: {fuzzer.failures.total()}")
    for failure, count in fuzzer.failures.most_common():
        print(f"{count:8} {failure}")
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
