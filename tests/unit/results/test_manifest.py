from __future__ import annotations

import csv
from pathlib import Path

import pytest

from helpers.results import UGLY_NAMES, person, publish
from zipcrop.archive.reader import Member
from zipcrop.errors import ResultsError
from zipcrop.results import layout, manifest
from zipcrop.results.manifest import Outcome, Person

MEMBER = Member(7, 'a "b",\nc.jpg', 0xABC, 1234, "")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_crop(tmp_path: Path) -> None:
    persons = (
        Person((1.0, 2.0, 3.5, 4.0), 0.9, "Person/z/a_0.jpg"),
        Person((0.0, 0.0, 1.0, 1.0), 0.3, "Person/z/a_1.jpg"),
    )
    manifest.write(tmp_path / "m.csv", manifest.rows("z", MEMBER, Outcome(7, "person", "", 40, 30, persons)))
    rows = read(tmp_path / "m.csv")
    assert list(rows[0]) == manifest.COLUMNS
    assert rows[0] == {
        "archive": "z",
        "member": 'a "b",\nc.jpg',
        "member_index": "7",
        "crc32": "00000abc",
        "bytes": "1234",
        "status": "person",
        "reason": "",
        "width": "40",
        "height": "30",
        "person": "0",
        "confidence": "0.9",
        "x1": "1.0",
        "y1": "2.0",
        "x2": "3.5",
        "y2": "4.0",
        "file": "Person/z/a_0.jpg",
    }
    assert (rows[1]["person"], rows[1]["file"]) == ("1", "Person/z/a_1.jpg")


def test_one_row_for_every_other_member(tmp_path: Path) -> None:
    outcomes = [
        Outcome(7, "no_person", "", 40, 30, (Person((3.0, 1.0, 9.0, 8.0), 0.2),), "No_Person/z/a.jpg"),
        Outcome(7, "no_person", "", 40, 30, (), "No_Person/z/a.jpg"),
        Outcome(7, "rejected", "too small", 40, 30, (Person((1.0, 1.0, 1.5, 1.5), 0.4),)),
        Outcome(7, "failed", "damaged"),
        Outcome(7, "skipped", "folder"),
    ]
    manifest.write(tmp_path / "m.csv", [row for outcome in outcomes for row in manifest.rows("z", MEMBER, outcome)])
    columns = ("status", "reason", "width", "person", "confidence", "x1", "file")
    assert [tuple(row[column] for column in columns) for row in read(tmp_path / "m.csv")] == [
        ("no_person", "", "40", "", "0.2", "3.0", "No_Person/z/a.jpg"),
        ("no_person", "", "40", "", "", "", "No_Person/z/a.jpg"),
        ("rejected", "too small", "40", "", "0.4", "1.0", ""),
        ("failed", "damaged", "", "", "", "", ""),
        ("skipped", "folder", "", "", "", "", ""),
    ]


def test_a_failed_archive_has_one_row(tmp_path: Path) -> None:
    manifest.write(tmp_path / "m.csv", manifest.failed_archive_rows("z", "is empty"))
    (row,) = read(tmp_path / "m.csv")
    assert {key: value for key, value in row.items() if value} == {
        "archive": "z",
        "member_index": "-1",
        "status": "failed",
        "reason": "is empty",
    }


def test_lines_end_as_rfc_4180_says(tmp_path: Path) -> None:
    manifest.write(tmp_path / "m.csv", manifest.failed_archive_rows("é", "x"))
    assert (tmp_path / "m.csv").read_bytes().count(b"\r\n") == 2


def test_outcomes_survive_json() -> None:
    outcome = Outcome(1, "person", "", 4, 3, (Person((1.0, 2.0, 3.0, 4.0), 0.5, "f"),))
    assert Outcome.from_json(outcome.to_json()) == outcome


def test_members_are_read_as_they_were_written(tmp_path: Path) -> None:
    persons = (Person((1.0, 2.0, 30.5, 40.0), 0.9, "Person/a/x_0.jpg"), Person((0.1, 0.0, 9.0, 9.0), 0.5, "x_1.jpg"))
    near = (Person((3.0, 1.0, 9.0, 8.0), 0.2),)
    outcomes = [
        Outcome(0, "person", "", 40, 30, persons),
        Outcome(1, "no_person", "", 40, 30, near, "No_Person/a/y.jpg"),
        Outcome(2, "no_person", "", 40, 30, (), "No_Person/a/z.jpg"),
        Outcome(3, "rejected", "too small", 40, 30, near),
        Outcome(4, "failed", "is damaged: Bad CRC-32"),
        Outcome(5, "failed", "cannot be encoded", 40, 30),
        *(Outcome(6 + number, "skipped", "folder") for number in range(len(UGLY_NAMES))),
    ]
    names = ["x.jpg"] * 6 + UGLY_NAMES
    write(tmp_path, "a", list(zip(names, outcomes, strict=True)))
    assert list(manifest.members(tmp_path, "a")) == list(zip(names, outcomes, strict=True))
    assert [outcome.cropped() for outcome in outcomes[:4]] == [persons, (), (), ()]
    assert list(manifest.named_files(tmp_path, "a")) == [file for outcome in outcomes for file in outcome.files()]


def write(output: Path, archive: str, members: list[tuple[str, Outcome]]) -> None:
    path = layout.manifest(output, archive)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        row
        for name, outcome in members
        for row in manifest.rows(archive, Member(outcome.index, name, 1, 10, ""), outcome)
    ]
    manifest.write(path, rows)


def test_an_archive_that_cannot_be_opened_has_no_members(tmp_path: Path) -> None:
    publish(tmp_path, {"a": None})
    assert list(manifest.members(tmp_path, "a")) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 99, b"\xff\n", b"member,status\r\na,b\r\n", b'"' + b"a" * 200_000, manifest.HEADER + b"a,b\r\n"],
)
def test_a_manifest_that_was_damaged_meanwhile_is_named(data: bytes, tmp_path: Path) -> None:
    publish(tmp_path, {"a": [("x.jpg", person((1.0, 2.0, 30.5, 40.0)))]})
    path = layout.manifest(tmp_path, "a")
    path.write_bytes(data)
    with pytest.raises(ResultsError, match=r"results of a cannot be read: .*/a\.csv is no manifest; delete it and run"):
        list(manifest.members(tmp_path, "a"))


@pytest.mark.parametrize("status", ["person", "no_person", "rejected"])
def test_a_photo_without_a_size_is_no_member_of_a_manifest(status: manifest.Status, tmp_path: Path) -> None:
    write(tmp_path, "a", [("x.jpg", Outcome(0, status))])
    with pytest.raises(ResultsError, match=r"is no manifest"):
        list(manifest.members(tmp_path, "a"))
