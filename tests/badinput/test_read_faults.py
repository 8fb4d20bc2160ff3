"""The n-th read of an archive goes wrong, for every n: a right result or one clear sentence, never a wrong result.

As yauzl tests its reader. Whole jobs, one of whose calls is disturbed below Python, are in tests/faults.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import workers
from archives import BZIP2, DEFLATE, PHOTO, PNG, Entry, build

from helpers.job import Crop, replace_workers
from helpers.output import results
from zipcrop.archive import source
from zipcrop.archive.confirmed import ConfirmedArchive, check_state
from zipcrop.archive.reader import MemberError
from zipcrop.errors import MachineError
from zipcrop.image import selection
from zipcrop.image.selection import NotAnImage
from zipcrop.job import run
from zipcrop.settings import Limits

ARCHIVE = build(
    [
        Entry(b"stored.jpg"),
        Entry(b"folder/deflated.jpg", method=DEFLATE),
        Entry(b"bzip2.png", PNG, method=BZIP2),
        Entry(b"damaged.jpg", PHOTO, crc32=1),
        Entry(b"no suffix", b"no photo"),
        Entry(b"notes.txt", b"no photo"),
        Entry(b"overlap.jpg", within=(0, 0)),
    ]
)
SMALL = build([Entry(b"stored.jpg"), Entry(b"damaged.jpg", crc32=1)])
"""Each read of a job costs the start of a worker."""
LIMITS = Limits(member_mb=256, megapixels=100, members=1000, seconds=120)
SENTENCES = re.compile(
    r"Input/output error while (opening|reading|cropping) .*a\.zip.*; check the disk and run again"
    r"|.*a\.zip gave other bytes when it was read again; check the disk, and run again"
    r"|.*a\.zip changed (since the run began|while it was being read); run again once it is complete"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.zip").write_bytes(ARCHIVE)
    return tmp_path / "a.zip"


def read_photo(archive: ConfirmedArchive, index: int) -> bytes:
    entry = archive.entry(index)
    data = archive.read(entry)
    selection.require_image(entry.name, data)
    return data


def read_all(path: Path, fingerprint: str) -> list[bytes | str]:
    """Reads as a job and its worker do, in their order. Returns for each member its bytes or the reason."""
    state = source.at(str(path)).state()
    source.check_unchanged(str(path), fingerprint)
    found: list[bytes | str] = []
    with (
        ConfirmedArchive(str(path), LIMITS, state) as of_job,
        ConfirmedArchive(str(path), LIMITS, state, of_job.digest) as of_worker,
    ):
        for member in of_job.members():
            try:
                found.append(run.reason_to_skip(member) or read_photo(of_worker, member.index))
            except (MemberError, NotAnImage) as error:
                found.append(str(error))
    source.check_unchanged(str(path), fingerprint)
    check_state(str(path), state)
    return found


@pytest.mark.parametrize(
    ("fault", "possible"),
    [
        ("error", {"stopped"}),
        ("nothing", {"stopped"}),
        ("less", {"right"}),  # a system may do so at any time
        ("zeros", {"right", "stopped"}),
        ("other bytes", {"right", "stopped"}),
    ],
)
def test_every_read_of_an_archive(
    fault: str, possible: set[str], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = source.at(str(path)).fingerprint()
    whole = read_all(path, fingerprint)
    assert [each if isinstance(each, str) else "" for each in whole] == [
        *("", "", ""),
        "is damaged: Bad CRC-32",
        *("not an image", "not an image"),
        "is damaged: there is another member where it should begin",
    ]
    note = tmp_path / "struck"
    ends = []
    for at in itertools.count(1):
        note.unlink(missing_ok=True)
        with monkeypatch.context() as disturbed:
            disturbed.setattr(os, "pread", workers.Disturbed(fault, at, note))
            try:
                assert read_all(path, fingerprint) == whole, f"read number {at}"
                ends.append("right")
            except (MachineError, OSError) as stopped:  # which the job makes a MachineError of
                said = fault == "error" if isinstance(stopped, OSError) else SENTENCES.fullmatch(str(stopped))
                assert said, f"read number {at}: {stopped}"  # noqa: PT017 - it need not stop
                ends.append("stopped")
        if not note.exists():
            break
    assert ends.pop() == "right", "nothing was disturbed"
    assert len(ends) > 20
    assert set(ends) == possible, ends


@pytest.mark.parametrize("process", ["job", "worker"])
@pytest.mark.parametrize("fault", ["error", "other bytes"])
def test_every_read_of_a_job(
    fault: str, process: str, path: Path, tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_workers(monkeypatch, workers.worker_without_an_engine)
    path.write_bytes(SMALL)
    assert [row["status"] for row in crop(path, output="whole")] == ["no_person", "failed"]
    whole = results(tmp_path / "whole")
    note = tmp_path / "struck"
    job = crop.job(path).job()
    ends = []
    for at in itertools.count(1):
        note.unlink(missing_ok=True)
        output = tmp_path / f"output {at}"
        with monkeypatch.context() as disturbed:
            if process == "job":
                disturbed.setattr(os, "pread", workers.Disturbed(fault, at, note))
            else:
                for name, value in {"FAULT": fault, "FAULT_AT": str(at), "STRUCK": str(note)}.items():
                    disturbed.setenv(name, value)
            try:
                run.run(replace(job, output=output))
                ends.append("right")
            except MachineError as stopped:
                assert SENTENCES.fullmatch(str(stopped)), f"read number {at}: {stopped}"  # noqa: PT017 - as above
                ends.append("stopped")
        assert results(output) == (whole if ends[-1] == "right" else {}), f"read number {at}"
        if not note.exists():
            break
    assert ends.pop() == "right", "nothing was disturbed"
    assert len(ends) > 5
