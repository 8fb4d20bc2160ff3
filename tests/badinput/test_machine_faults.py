"""Faults of the machine, in real jobs and workers: one sentence, nothing half-written, and a rerun that carries on."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from support import encoded, make_zip

from zipcrop import job, pool, worker
from zipcrop.errors import MachineError
from zipcrop.source import LocalFile

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


def worker_that_cannot_write(connection: Connection, *arguments: Any) -> None:
    Path.write_bytes = failing(Path.write_bytes, int(os.environ["FAULT"]), 10)  # type: ignore[method-assign]
    worker.main(connection, *arguments)


def worker_that_cannot_read(connection: Connection, *arguments: Any) -> None:
    LocalFile.read_at = failing(LocalFile.read_at, errno.EIO, 20)  # type: ignore[method-assign]
    worker.main(connection, *arguments)


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
        assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [".staging"]
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
        broken.setattr(pool.worker, "main", worker_that_cannot_write)

    fails_and_then_carries_on(patch, said)


def test_an_archive_that_cannot_be_read(fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(pool.worker, "main", worker_that_cannot_read)

    said = r"Input/output error while reading .*photos\.zip; check the disk and run again"
    fails_and_then_carries_on(patch, said)


@pytest.mark.parametrize(("function", "after"), [("record", 7), ("publish", 0), ("check_files", 0)])
def test_a_job_whose_disk_is_full(function: str, after: int, fails_and_then_carries_on: Check) -> None:
    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(job.Staging, function, failing(getattr(job.Staging, function), errno.ENOSPC, after))

    said = r"No space left on device while cropping .*photos\.zip into .*output; free some space and run again"
    fails_and_then_carries_on(patch, said)


@pytest.mark.parametrize("after", [5, 20])
def test_a_disk_that_fills_up_while_results_are_put_in_place(after: int, fails_and_then_carries_on: Check) -> None:
    """Links and folders take room, too."""

    def patch(broken: pytest.MonkeyPatch) -> None:
        broken.setattr(Path, "hardlink_to", failing(Path.hardlink_to, errno.ENOSPC, after))

    said = r"No space left on device while cropping .*photos\.zip into .*output; free some space and run again"
    fails_and_then_carries_on(patch, said)


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the results would be the old content's, some the new one's."""
    path = make_zip(tmp_path / "photos.zip", MEMBERS)
    original = job.Staging.check_files

    def check_files(self: job.Staging, files: Iterable[str]) -> None:
        original(self, files)
        path.write_bytes(make_zip(tmp_path / "new.zip", MEMBERS[1:]).read_bytes())

    with (
        monkeypatch.context() as changing,
        pytest.raises(MachineError, match=r"photos\.zip changed since the run began"),
    ):
        changing.setattr(job.Staging, "check_files", check_files)
        crop(path)
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [".staging"]
    assert len({row["member_index"] for row in crop(path)}) == len(MEMBERS) - 1
    # What was staged of the old content is gone.
    (staged,) = [path for path in (tmp_path / "output/.staging/photos").iterdir() if path.is_dir()]
    assert len((staged / "journal.jsonl").read_text().splitlines()) == len(MEMBERS) - 1
