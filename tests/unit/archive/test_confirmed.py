from __future__ import annotations

import errno
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.files import make_zip
from zipcrop.archive import source
from zipcrop.archive.confirmed import ConfirmedArchive, check_state
from zipcrop.archive.reader import (
    ArchiveError,
    DamagedMember,
    Member,
    MemberError,
)
from zipcrop.archive.source import LocalFile, LocalZip
from zipcrop.archive.store import StoredObject
from zipcrop.errors import MachineError, machine_faults
from zipcrop.settings import Limits

if TYPE_CHECKING:
    from helpers.store import Store

JPEG = b"\xff\xd8\xff"
LIMITS = Limits(member_mb=1, megapixels=10, members=100, seconds=120)
MEMBERS = [("a.jpg", JPEG + bytes(range(256)) * 9), ("b.jpg", JPEG + b"b" * 3000), ("notes.txt", b"text"), ("c", b"c")]
OTHER_BYTES = "gave other bytes when it was read again; check the disk, and run again"


def plain(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.comment = b"PK a comment"
        for name, data in MEMBERS:
            file.writestr(zipfile.ZipInfo(name), data, 8 if name == "a.jpg" else 0)


def with_stub(path: Path) -> None:
    plain(path)
    path.write_bytes(b"#!/bin/sh\n" * 10 + path.read_bytes())


def with_an_older_archive_in_its_stub(path: Path) -> None:
    """Which would do, if nobody read the end."""
    make_zip(path, [("old.jpg", JPEG)])
    older = path.read_bytes()
    plain(path)
    path.write_bytes(b"#!" + older + b"#" + path.read_bytes())


def zip64(path: Path) -> None:
    plain(path)
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    _, _, _, count, _, size, offset, _ = struct.unpack_from("<4s4H2LH", data, end)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    usual = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:end] + record + locator + usual)


def one_part_of_several_by_zip64_alone(path: Path) -> None:
    """The usual end record would do, if nobody read the other."""
    plain(path)
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 2)
    last = data.rindex(b"PK\1\2")
    entry = bytearray(data[last:end] + bytes(76 - len(locator)) + locator)
    struct.pack_into("<H", entry, 32, 76)  # the last entry's comment
    tail = bytearray(data[end:])
    struct.pack_into("<L", tail, 12, struct.unpack_from("<L", data, end + 12)[0] + 76)
    path.write_bytes(data[:last] + entry + tail)


def with_damaged_members(path: Path) -> None:
    plain(path)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF  # within the first one
    at = data.index(b"b.jpg") - 30
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)


def that_has_a_larger_member_than_it_says(path: Path) -> None:
    """Of nothing at all, if nobody looked at what else there is."""
    make_zip(path, [("a.jpg", b"data"), ("b.jpg", JPEG)])
    data = bytearray(path.read_bytes())
    for at in (data.index(b"PK\3\4") + 14, data.index(b"PK\1\2") + 16):
        data[at : at + 4] = bytes(4)
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)


def with_refused_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("large.jpg", bytes(1_000_001))
        file.writestr("raw.cr2", b"II*\0")
        file.writestr("encrypted.jpg", b"x")
        file.filelist[2].flag_bits |= 1


def without_photos(path: Path) -> None:
    make_zip(path, [("folder/", b""), ("notes.txt", b"")])


def several_in_one_file(path: Path) -> None:
    """Without photos: no worker looks at what the job has read."""
    without_photos(path)
    path.write_bytes(path.read_bytes() * 2)


def whose_directory_is_damaged(path: Path) -> None:
    plain(path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2")
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    plain(path)
    path.write_bytes(path.read_bytes()[:-400])


def web_page(path: Path) -> None:
    path.write_bytes(b"<html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


MAKERS: list[Callable[[Path], None]] = [
    plain,
    with_stub,
    with_an_older_archive_in_its_stub,
    zip64,
    one_part_of_several_by_zip64_alone,
    with_damaged_members,
    that_has_a_larger_member_than_it_says,
    with_refused_members,
    without_photos,
    several_in_one_file,
    whose_directory_is_damaged,
    cut_off,
    web_page,
    empty,
]

Result = str | dict[int, object]


def read_as_a_job_does(place: str, fingerprint: str) -> Result:
    """What a job makes of the archive: its opening, a worker's, each photo's bytes or fault, and a look at the end."""
    with machine_faults("reading"):
        state = source.at(place).state()
        source.check_unchanged(place, fingerprint)
        try:
            with ConfirmedArchive(place, LIMITS, state) as archive:
                members = archive.members()
                files = [member for member in members if not member.kind]
                if not files:
                    archive.opened_again()
        except ArchiveError as error:
            result: Result = str(error)
            unread = True
        else:
            results: dict[int, object] = {member.index: member for member in members}
            unread = False
            if files:
                with ConfirmedArchive(place, LIMITS, state, archive.digest) as archive:
                    for member in files:
                        outcome = read(archive, member)
                        results[member.index] = (member, outcome)
                        unread |= outcome[0] is DamagedMember
            result = results
        source.check_unchanged(place, fingerprint)
        if unread:
            check_state(place, state)
    return result


def read(archive: ConfirmedArchive, member: Member) -> tuple[object, object]:
    try:
        entry = archive.entry(member.index)
        archive.memory(entry)
        return None, archive.read(entry)
    except MemberError as error:
        return type(error), str(error)


class Falsified:
    """The reads of all files from now on, counted; what the one in question gives is falsified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.falsify: Callable[[bytes], bytes] = bytes
        self.at = -1
        really_read = LocalFile.read_at

        def read_at(reader: LocalFile, length: int, offset: int) -> bytes:
            data = really_read(reader, length, offset)
            self.count += 1
            return self.falsify(data) if self.count - 1 == self.at else data

        monkeypatch.setattr(LocalFile, "read_at", read_at)


def fails(data: bytes) -> bytes:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def with_another_byte(quarter: int) -> Callable[[bytes], bytes]:
    def falsify(data: bytes) -> bytes:
        at = len(data) * quarter // 4
        return data[:at] + bytes(byte ^ 0x11 for byte in data[at : at + 1]) + data[at + 1 :]

    return falsify


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda data: bytes(len(data)),
    "nothing": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte less": lambda data: data[:-1],
    "half zeros": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    **{f"another byte after {quarter}/4": with_another_byte(quarter) for quarter in range(4)},
    "a fault": fails,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_no_single_read_changes_a_result(
    maker: Callable[[Path], None], way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of an undisturbed job, or a fault of the machine."""
    path = tmp_path / "a.zip"
    maker(path)
    fingerprint = LocalZip(str(path)).fingerprint()
    falsified = Falsified(monkeypatch)
    truth = read_as_a_job_does(str(path), fingerprint)
    reads = falsified.count
    falsified.falsify = WAYS[way]
    said = set()
    for falsified.at in range(reads):
        falsified.count = 0
        try:
            assert read_as_a_job_does(str(path), fingerprint) == truth, f"read {falsified.at}"
        except MachineError as error:
            said.add(str(error))
    if maker is not empty:
        assert said
    for sentence in said:
        assert "\n" not in sentence
        assert sentence.endswith("run again") or "run again once it is complete" in sentence


@pytest.mark.parametrize(("at", "what"), [(5, "'a.jpg' in "), (0, "")], ids=["a member", "the archive"])
def test_the_sentence_names_archive_and_member(
    at: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    plain(path)
    falsified = Falsified(monkeypatch)
    falsified.falsify, falsified.at = WAYS["zeros"], at
    # The directory's end, a locator, its beginning, all of it; the member's entry, header and data.
    with pytest.raises(MachineError) as error, opened(path) as archive:
        archive.read(archive.entry(0))
    assert str(error.value) == f"{what}{path} {OTHER_BYTES}"


def opened(path: Path) -> ConfirmedArchive:
    return ConfirmedArchive(str(path), LIMITS, LocalZip(str(path)).state())


def openings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Those of files from now on: whether each was to read anew."""
    found: list[bool] = []
    really_open = LocalZip.open

    def open_(self: LocalZip, anew: bool = False) -> LocalFile:
        found.append(anew)
        return really_open(self, anew)

    monkeypatch.setattr(LocalZip, "open", open_)
    return found


def test_whole_archives_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "a.zip", [("a.jpg", JPEG), ("raw.cr2", b"II*\0"), ("c", b"")])
    found = openings(monkeypatch)
    with opened(path) as archive:
        assert [read(archive, member)[0] for member in archive.members()] == [None, None, None]
    assert found == [False]


def test_however_many_members_are_damaged_the_directory_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{index}.jpg", JPEG) for index in range(50)])
    path.write_bytes(path.read_bytes().replace(JPEG, b"xxx"))
    found = openings(monkeypatch)
    with opened(path) as archive, ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda member: read(archive, member), archive.members()))
    assert outcomes == 50 * [(DamagedMember, "is damaged: Bad CRC-32")]
    assert found == [False, True]


def make_old(path: Path) -> None:
    """Lest it be changed in the same moment, as the system counts them."""
    os.utime(path, ns=(1, 1))


def copied_over_itself(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replaced_by_a_copy(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def filled_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("change", [copied_over_itself, replaced_by_a_copy, Path.unlink, cut, filled_with_zeros])
def test_faults_in_an_archive_that_has_changed_are_not_the_contents(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "a.zip"
    with_damaged_members(path)
    make_old(path)
    said = r"a\.zip changed while it was being read; run again once it is complete|No such file .*"
    with opened(path) as archive:
        change(path)
        with pytest.raises(MachineError, match=said), machine_faults("reading"):
            archive.read(archive.entry(0))


def test_an_archive_that_has_changed_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for content in (b"PK\5\6" + bytes(18), b"<html>"):
        path.write_bytes(content)
        make_old(path)
        state = LocalZip(str(path)).state()
        check_state(str(path), state)
        copied_over_itself(path)
        with pytest.raises(MachineError, match=r"a\.zip changed while it was being read; run again once"):
            ConfirmedArchive(str(path), LIMITS, state)
        with pytest.raises(MachineError, match=r"a\.zip changed while it was being read; run again once"):
            check_state(str(path), state)


def test_bytes_of_a_store_are_fetched_again(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it has once answered is remembered for the other members, but is not believed of a damaged one."""
    whole = make_zip(tmp_path / "a.zip", [("a.jpg", JPEG * 10), ("b.jpg", JPEG)]).read_bytes()
    store.put("raw", "a.zip", whole)
    state = source.at("s3://raw/a.zip").state()
    really_read = StoredObject._read
    answers = [whole.replace(JPEG * 10, bytes(30))]

    def read_once_falsified(self: StoredObject, start: int, end: int) -> bytes:
        return answers.pop() if answers else really_read(self, start, end)

    monkeypatch.setattr(StoredObject, "_read", read_once_falsified)
    with ConfirmedArchive("s3://raw/a.zip", LIMITS, state) as archive:
        assert archive.read(archive.entry(1)) == JPEG
        with pytest.raises(MachineError, match=rf"'a\.jpg' in s3://raw/a\.zip {OTHER_BYTES}"):
            archive.read(archive.entry(0))


def test_a_damaged_object_is_asked_for_twice(store: Store, tmp_path: Path) -> None:
    data = make_zip(tmp_path / "a.zip", [(f"{index}.jpg", JPEG) for index in range(20)]).read_bytes()
    store.put("raw", "a.zip", data.replace(JPEG, b"xxx"))
    state = source.at("s3://raw/a.zip").state()
    before = len(store.requests())
    with ConfirmedArchive("s3://raw/a.zip", LIMITS, state) as archive:
        assert {read(archive, member)[0] for member in archive.members()} == {DamagedMember}
        store.put("raw", "a.zip", data)
        with pytest.raises(MachineError, match=r"s3://raw/a\.zip changed while it was being read; run again once"):
            check_state("s3://raw/a.zip", state)
    assert store.requests()[before : before + 4] == ["HEAD /raw/a.zip", "GET /raw/a.zip"] * 2
    assert len(store.requests()) == before + 6
