"""Faults of the machine, in real jobs and workers: one sentence, nothing half-written, and a rerun that carries on."""

from __future__ import annotations

import errno
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from helpers.support import encoded, make_zip
from zipcrop import files
from zipcrop.archive.source import LocalFile
from zipcrop.errors import MachineError
from zipcrop.job import entry, run

Crop = Callable[..., list[dict[str, str]]]
Patch = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Patch, str], None]
MEMBERS = [(f"{index}.jpg", encoded("empty" if index % 3 else "zidane", scale=0.3)) for index in range(24)]


def failing(original: Callable[..., Any], number: int, after: int) -> Callable[..., Any]:
    """`original`, which raises an OSError from the call on that comes after `after` others."""
    calls = []

    def fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    return fails


def failing_once(original: Callable[..., Any], number: int, after: int) -> Callable[..., Any]:
    """`original`, of which the call that comes after `after` others raises an OSError."""
    calls = []

    def fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == after + 1:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    return fails


def worker_that_cannot_write(connection: Connection, *arguments: Any) -> None:
    files.create = failing(files.create, int(os.environ["FAULT"]), 10)
    entry.main(connection, *arguments)


def worker_that_cannot_read(connection: Connection, *arguments: Any) -> None:
    LocalFile.read_at = failing(LocalFile.read_at, errno.EIO, 20)  # type: ignore[method-assign]
    entry.main(connection, *arguments)


def reads_once_otherwise(falsified: Callable[[LocalFile, bytes], bytes], photo: int) -> None:
    """From now on, what is read for the `photo`th time of a photo's bytes is `falsified`; others wait meanwhile."""
    really_read = LocalFile.read_at
    photos = itertools.count(1)
    alone = threading.Lock()

    def read_at(reader: LocalFile, length: int, offset: int) -> bytes:
        with alone:
            data = really_read(reader, length, offset)
            return falsified(reader, data) if data.startswith(b"\xff\xd8") and next(photos) == photo else data

    LocalFile.read_at = read_at  # type: ignore[method-assign]


def worker_that_once_reads_zeros(connection: Connection, *arguments: Any) -> None:
    reads_once_otherwise(lambda reader, data: bytes(len(data)), 7)
    entry.main(connection, *arguments)


def worker_that_once_reads_nothing(connection: Connection, *arguments: Any) -> None:
    reads_once_otherwise(lambda reader, data: b"", 7)
    entry.main(connection, *arguments)


def worker_that_reads_while_somebody_copies(connection: Connection, *arguments: Any) -> None:
    """The archive over itself, in place: in between it has zeros."""

    def falsified(reader: LocalFile, data: bytes) -> bytes:
        path = Path(os.environ["ZIP"])
        content = path.read_bytes()
        path.write_bytes(bytes(len(content)))
        zeros = os.pread(reader._file.fileno(), len(data), 0)
        path.write_bytes(content)
        return zeros

    reads_once_otherwise(falsified, 7)
    entry.main(connection, *arguments)


def worker_that_once_reads_another_directory(connection: Connection, *arguments: Any) -> None:
    LocalFile.read_at = once_zeros(LocalFile.read_at)  # type: ignore[method-assign]
    entry.main(connection, *arguments)


def once_zeros(original: Callable[..., bytes]) -> Callable[..., bytes]:
    """`original`, which gives zeros the first time."""
    first = [True]

    def read_at(*arguments: Any) -> bytes:
        data = original(*arguments)
        return bytes(len(data)) if first and first.pop() else data

    return read_at


@pytest.fixture(scope="module")
def zip_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zip(tmp_path_factory.mktemp("zip") / "photos.zip", MEMBERS)


def results(output: Path) -> dict[str, bytes]:
    folders = (output / "Person", output / "No_Person", output / "manifests")
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(
    zip_path: Path, crop_in: Callable[[Path], Crop], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What a job leaves that nothing gets in the way of."""
    folder = tmp_path_factory.mktemp("whole")
    crop_in(folder)(zip_path)
    return results(folder / "output")


@pytest.fixture
def fails_and_then_carries_on(
    tmp_path: Path, crop: Crop, zip_path: Path, whole: dict[str, bytes]
) -> Callable[[Patch, str], None]:
    """Checks that a job with what `patch` breaks fails with the sentence `said`, and that the one after it ends as if
    nothing had been."""

    def check(patch: Patch, said: str) -> None:
        with pytest.MonkeyPatch.context() as broken, pytest.raises(MachineError) as fault:
            patch(broken)
            crop(zip_path)
        assert re.fullmatch(said, str(fault.value)), fault.value
        assert str(fault.value) in (tmp_path / "logs" / "photos.log").read_text()
        assert results(tmp_path / "output") == {}
        crop(zip_path)
        assert results(tmp_path / "output") == whole

    return check


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"No space left on device while writing .*\.jpg; free some space and run again"),
        (errno.EDQUOT, r"Disk quota exceeded while writing .*\.jpg; raise the quota or free some space, and run again"),
        (errno.EACCES, r"Permission denied while writing .*\.jpg; give yourself access and run again"),
    ],
)
def test_a_worker_that_cannot_write(number: int, said: str, fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setenv("FAULT", str(number))
        broken.setattr(entry, "main", worker_that_cannot_write)

    fails_and_then_carries_on(patch, said)


def test_an_archive_that_cannot_be_read(fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(entry, "main", worker_that_cannot_read)

    said = r"Input/output error while reading .*photos\.zip; check the disk and run again"
    fails_and_then_carries_on(patch, said)


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (
            worker_that_once_reads_zeros,
            r"'\d+\.jpg' in .*photos\.zip gave other bytes when it was read again; check .*",
        ),
        (worker_that_once_reads_nothing, r"'\d+\.jpg' in .*photos\.zip gave other bytes when it was read again; .*"),
        (worker_that_once_reads_another_directory, r".*photos\.zip gave other bytes when it was read again; check .*"),
        (
            worker_that_reads_while_somebody_copies,
            r".*photos\.zip changed while it was being read; run again once it is complete",
        ),
    ],
)
def test_an_archive_that_reads_otherwise_once(
    main: Callable[..., None], said: str, zip_path: Path, fails_and_then_carries_on: Check
) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setenv("ZIP", str(zip_path))
        broken.setattr(entry, "main", main)

    fails_and_then_carries_on(patch, said)


def test_a_job_that_reads_otherwise_once(fails_and_then_carries_on: Check) -> None:
    """While it opens the archive, after it has looked at the fingerprint."""
    really_open = run.ConfirmedArchive

    def patch(broken: pytest.MonkeyPatch) -> None:
        def opened(*arguments: Any) -> run.ConfirmedArchive:
            broken.setattr(LocalFile, "read_at", once_zeros(LocalFile.read_at))
            return really_open(*arguments)

        broken.setattr(run, "ConfirmedArchive", opened)

    said = r".*photos\.zip gave other bytes when it was read again; check the disk, and run again"
    fails_and_then_carries_on(patch, said)


def test_a_job_without_photos_that_reads_otherwise_once(tmp_path: Path, crop: Crop) -> None:
    """No worker looks at what the job has read, which is that there are several archives in the file."""
    path = make_zip(tmp_path / "photos.zip", [("notes.txt", b"")])
    path.write_bytes(path.read_bytes() * 2)
    really_read = LocalFile.read_at
    beginnings = itertools.count()

    def read_at(reader: LocalFile, length: int, offset: int) -> bytes:
        data = really_read(reader, length, offset)
        return bytes(4) if (length, offset) == (4, 0) and next(beginnings) == 0 else data

    said = r"photos\.zip gave other bytes when it was read again; check the disk, and run again"
    with pytest.MonkeyPatch.context() as broken, pytest.raises(MachineError, match=said):
        broken.setattr(LocalFile, "read_at", read_at)
        crop(path)
    assert [row["status"] for row in crop(path)] == ["failed"]


def touched_at_the_end(broken: pytest.MonkeyPatch, path: Path) -> None:
    """As by a backup that links the archive, or a copy of it over itself."""
    original = run.Staging.check_files

    def check_files(self: run.Staging, files: Iterable[str]) -> None:
        original(self, files)
        os.utime(path, ns=(1, 1))

    broken.setattr(run.Staging, "check_files", check_files)


def test_an_archive_that_is_touched_while_it_is_read(
    tmp_path: Path, crop: Crop, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was read is what its directory says."""
    path = make_zip(tmp_path / "photos.zip", MEMBERS)
    touched_at_the_end(monkeypatch, path)
    crop(path)
    assert results(tmp_path / "output") == whole


@pytest.mark.parametrize("content", ["members", "archive"])
def test_a_damaged_archive_that_is_touched_while_it_is_read(content: str, tmp_path: Path, crop: Crop) -> None:
    """It may have been whole again when it was touched."""
    path = make_zip(tmp_path / "photos.zip", MEMBERS[:3])
    data = path.read_bytes()
    path.write_bytes(data.replace(MEMBERS[0][1], bytes(len(MEMBERS[0][1]))) if content == "members" else data[:-50])
    said = r"photos\.zip changed while it was being read; run again once it is complete"
    with pytest.MonkeyPatch.context() as touching, pytest.raises(MachineError, match=said):
        touched_at_the_end(touching, path)
        if content == "archive":  # whose files nobody checks
            failed_rows = run.manifest.failed_archive_rows

            def touch(*arguments: str) -> list[dict[str, Any]]:
                os.utime(path, ns=(1, 1))
                return failed_rows(*arguments)

            touching.setattr(run.manifest, "failed_archive_rows", touch)
        crop(path)
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [".staging"]
    rows = crop(path)
    assert [row["status"] for row in rows if row["reason"]] == ["failed"]


@pytest.mark.parametrize(("function", "after"), [("record", 7), ("publish", 0), ("check_files", 0)])
def test_a_job_whose_disk_is_full(function: str, after: int, fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(run.Staging, function, failing(getattr(run.Staging, function), errno.ENOSPC, after))

    said = r"No space left on device while cropping .*photos\.zip into .*output; free some space and run again"
    fails_and_then_carries_on(patch, said)


@pytest.mark.parametrize("after", [0, 3])
def test_a_disk_that_fills_up_while_results_are_put_in_place(after: int, fails_and_then_carries_on: Check) -> None:
    """Names in folders take room, too."""

    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(Path, "replace", failing_once(Path.replace, errno.ENOSPC, after))

    said = r"No space left on device while cropping .*photos\.zip into .*output; free some space and run again"
    fails_and_then_carries_on(patch, said)


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the results would be the old content's, some the new one's."""
    path = make_zip(tmp_path / "photos.zip", MEMBERS)
    original = run.Staging.check_files

    def check_files(self: run.Staging, files: Iterable[str]) -> None:
        original(self, files)
        path.write_bytes(make_zip(tmp_path / "new.zip", MEMBERS[1:]).read_bytes())

    with (
        monkeypatch.context() as changing,
        pytest.raises(MachineError, match=r"photos\.zip changed since the run began"),
    ):
        changing.setattr(run.Staging, "check_files", check_files)
        crop(path)
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [".staging"]
    assert len({row["member_index"] for row in crop(path)}) == len(MEMBERS) - 1
    # What was staged of the old content is gone.
    assert not (tmp_path / "output/.staging").exists()
