"""Faults of the machine, in real jobs and workers: one sentence, nothing half-written, and a rerun that carries on."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import workers

from helpers.files import make_zip
from helpers.job import Crop, replace_workers
from helpers.once import once_per_run
from helpers.output import results
from helpers.photos import encoded
from zipcrop.archive.confirmed import ConfirmedArchive
from zipcrop.archive.source import LocalFile
from zipcrop.errors import MachineError
from zipcrop.job import run
from zipcrop.job.staging import Staging
from zipcrop.results import manifest

if TYPE_CHECKING:
    from zipcrop.results.manifest import Outcome

Patch = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Patch, str], None]
MEMBERS = [(f"{index}.jpg", encoded("empty" if index % 3 else "zidane", scale=0.3)) for index in range(24)]


def failing_once(original: Callable[..., Any], number: int, after: int) -> Callable[..., Any]:
    """`original`, but the call after the first `after` ones raises an OSError."""
    calls = []

    def fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == after + 1:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    return fails


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model_json: Path) -> Path:
    """A folder with an archive and the results of an undisturbed job."""

    def make(folder: Path) -> None:
        Crop(folder, model_json)(make_zip(folder / "photos.zip", MEMBERS))

    return once_per_run(tmp_path_factory, "undisturbed", make)


@pytest.fixture
def zip_path(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(undisturbed / "photos.zip", tmp_path / "photos.zip"))


@pytest.fixture(scope="module")
def whole(undisturbed: Path) -> dict[str, bytes]:
    """The results of an undisturbed job."""
    return results(undisturbed / "output")


@pytest.fixture
def fails_and_then_carries_on(
    tmp_path: Path, crop: Crop, zip_path: Path, whole: dict[str, bytes]
) -> Callable[[Patch, str], None]:
    """Checks that a job in which `patch` breaks something fails with the sentence `said`, and that the next one ends as
    if nothing had happened."""

    def check(patch: Patch, said: str) -> None:
        with pytest.MonkeyPatch.context() as broken:
            patch(broken)
            with pytest.raises(MachineError) as fault:
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
        replace_workers(broken, workers.worker_that_cannot_write)

    fails_and_then_carries_on(patch, said)


def test_an_archive_that_cannot_be_read(fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        replace_workers(broken, workers.worker_that_cannot_read)

    said = r"Input/output error while reading .*photos\.zip; check the disk and run again"
    fails_and_then_carries_on(patch, said)


OTHER_BYTES = r"gave other bytes when it was read again; check the disk, and run again"


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (workers.worker_that_once_reads_zeros, rf"'\d+\.jpg' in .*photos\.zip {OTHER_BYTES}"),
        (workers.worker_that_once_reads_nothing, rf"'\d+\.jpg' in .*photos\.zip {OTHER_BYTES}"),
        (workers.worker_that_once_reads_another_directory, rf".*photos\.zip {OTHER_BYTES}"),
        (
            workers.worker_that_reads_while_somebody_copies,
            r".*photos\.zip changed while it was being read; run again once it is complete",
        ),
    ],
)
def test_an_archive_that_reads_otherwise_once(
    main: Callable[..., None], said: str, zip_path: Path, fails_and_then_carries_on: Check
) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setenv("ZIP", str(zip_path))
        replace_workers(broken, main)

    fails_and_then_carries_on(patch, said)


def test_a_job_that_reads_otherwise_once(fails_and_then_carries_on: Check) -> None:
    """While it opens the archive, after it has looked at the fingerprint."""

    def patch(broken: pytest.MonkeyPatch) -> None:
        def opened(*arguments: Any) -> ConfirmedArchive:
            broken.setattr(LocalFile, "read_at", workers.once_zeros(LocalFile.read_at))
            return ConfirmedArchive(*arguments)

        broken.setattr(run, "ConfirmedArchive", opened)

    said = r".*photos\.zip gave other bytes when it was read again; check the disk, and run again"
    fails_and_then_carries_on(patch, said)


def test_a_job_without_photos_that_reads_otherwise_once(tmp_path: Path, crop: Crop) -> None:
    """The job reads that there are several archives in the file, and no worker reads it again."""
    path = make_zip(tmp_path / "photos.zip", [("notes.txt", b"")])
    path.write_bytes(path.read_bytes() * 2)
    really_read = LocalFile.read_at
    beginnings = itertools.count()

    def read_at(reader: LocalFile, length: int, offset: int) -> bytes:
        data = really_read(reader, length, offset)
        return bytes(4) if (length, offset) == (4, 0) and next(beginnings) == 0 else data

    said = r"photos\.zip gave other bytes when it was read again; check the disk, and run again"
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(LocalFile, "read_at", read_at)
        with pytest.raises(MachineError, match=said):
            crop(path)
    assert [row["status"] for row in crop(path)] == ["failed"]


def touched_at_the_end(broken: pytest.MonkeyPatch, path: Path) -> None:
    """As by a backup that links the archive, or a copy of it over itself."""
    original = Staging.check_files

    def check_files(self: Staging, outcomes: Iterable[Outcome]) -> None:
        original(self, outcomes)
        os.utime(path, ns=(1, 1))

    broken.setattr(Staging, "check_files", check_files)


def test_an_archive_that_is_touched_while_it_is_read(
    tmp_path: Path, crop: Crop, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that was read is as the directory says."""
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
    with pytest.MonkeyPatch.context() as touching:
        touched_at_the_end(touching, path)
        if content == "archive":  # whose files nobody checks
            failed_rows = manifest.failed_archive_rows

            def touch(*arguments: str) -> list[manifest.Row]:
                os.utime(path, ns=(1, 1))
                return failed_rows(*arguments)

            touching.setattr(manifest, "failed_archive_rows", touch)
        with pytest.raises(MachineError, match=said):
            crop(path)
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [".staging"]
    rows = crop(path)
    assert [row["status"] for row in rows if row["reason"]] == ["failed"]


@pytest.mark.parametrize(("function", "after"), [("record", 7), ("publish", 0), ("check_files", 0)])
def test_a_job_whose_disk_is_full(function: str, after: int, fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(Staging, function, workers.failing(getattr(Staging, function), errno.ENOSPC, after))

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
    original = Staging.check_files

    def check_files(self: Staging, outcomes: Iterable[Outcome]) -> None:
        original(self, outcomes)
        path.write_bytes(make_zip(tmp_path / "new.zip", MEMBERS[1:]).read_bytes())

    with monkeypatch.context() as changing:
        changing.setattr(Staging, "check_files", check_files)
        with pytest.raises(MachineError, match=r"photos\.zip changed since the run began"):
            crop(path)
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [".staging"]
    assert len({row["member_index"] for row in crop(path)}) == len(MEMBERS) - 1
    # Nothing staged of the old content is left.
    assert not (tmp_path / "output/.staging").exists()
