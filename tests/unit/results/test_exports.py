from __future__ import annotations

from pathlib import Path

import pytest

from helpers.results import FAILED, SKIPPED, UGLY_NAMES, no_person, person, publish, rejected
from zipcrop.errors import ResultsError
from zipcrop.results import exports, manifest


def test_archives_are_those_of_the_summary_in_its_order(tmp_path: Path) -> None:
    publish(tmp_path, {'b/it\'s, "so"': [], "NA": [], "a": []})
    assert exports.archives(tmp_path) == {
        'b/it\'s, "so"': 'raw_zips/b/it\'s, "so".zip',
        "NA": "raw_zips/NA.zip",
        "a": "raw_zips/a.zip",
    }


def test_an_entry_for_every_member_with_the_people_that_have_a_crop(tmp_path: Path) -> None:
    boxes = ((1.0, 2.0, 30.5, 40.0), (0.0, 0.0, 9.0, 9.0))
    publish(
        tmp_path,
        {"a": [("x.jpg", person(*boxes)), ("x.jpg", no_person()), ("y", rejected()), ("z", FAILED), ("t/", SKIPPED)]},
    )
    entries = list(exports.entries(tmp_path, "a"))
    assert [(entry.member, entry.index, entry.status, entry.width, entry.height) for entry in entries] == [
        ("x.jpg", 0, "person", 640, 480),
        ("x.jpg", 1, "no_person", 640, 480),
        ("y", 2, "rejected", 640, 480),
        ("z", 3, "failed", 0, 0),
        ("t/", 4, "skipped", 0, 0),
    ]
    assert [entry.people for entry in entries] == [[(*boxes[0], 0.9), (*boxes[1], 0.89)], [], [], [], []]
    assert entries[3].reason == "is damaged: Bad CRC-32"


def test_names_come_back_as_they_are(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [(name, no_person()) for name in UGLY_NAMES]})
    assert [entry.member for entry in exports.entries(tmp_path, "a")] == UGLY_NAMES


def test_an_archive_that_cannot_be_opened_has_no_members(tmp_path: Path) -> None:
    publish(tmp_path, {"a": None})
    assert list(exports.entries(tmp_path, "a")) == []


@pytest.mark.parametrize("data", [b"", b"\0" * 99, b"\xff\n", b"member,status\r\na,b\r\n", b'"' + b"a" * 200_000])
def test_a_manifest_that_was_damaged_meanwhile_is_named(data: bytes, tmp_path: Path) -> None:
    publish(tmp_path, {"a": [("x.jpg", person((1.0, 2.0, 30.5, 40.0)))]})
    path = manifest.path(tmp_path, "a")
    path.write_bytes(data)
    with pytest.raises(ResultsError, match=r"results of a cannot be read: .*/a\.csv is no manifest; delete it and run"):
        list(exports.entries(tmp_path, "a"))
