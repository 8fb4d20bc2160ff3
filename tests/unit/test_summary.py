from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zipcrop import manifest, summary
from zipcrop.archive import Member
from zipcrop.errors import ZipcropError
from zipcrop.manifest import Outcome, Person


def publish(
    output: Path, archive: str, *members: tuple[Outcome, int, int], rows: list[dict[str, Any]] | None = None
) -> None:
    """Writes results as a crop job does; members as outcome, CRC, size."""
    rows = rows or [
        row
        for outcome, crc32, size in members
        for row in manifest.rows(archive, Member(outcome.index, f"{outcome.index}.jpg", crc32, size, ""), outcome)
    ]
    for outcome, _, _ in members:
        for file in outcome.files():
            (output / file).parent.mkdir(parents=True, exist_ok=True)
            (output / file).write_text("x")
    path = manifest.path(output, archive)
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest.write(path, rows)
    manifest.record_path(output, archive).write_text(json.dumps({"fingerprint": f"f-{archive}", "seconds": 2.0}))


def person(index: int, archive: str, crops: int = 1) -> Outcome:
    persons = tuple(Person((0.0, 0.0, 9.0, 9.0), 0.5, f"Person/{archive}/{index}_{k}.jpg") for k in range(crops))
    return Outcome(index, "person", "", 9, 9, persons)


def test_one_row_per_archive(tmp_path: Path) -> None:
    publish(
        tmp_path,
        "a",
        (person(0, "a", crops=2), 1, 10),
        (Outcome(1, "no_person", "", 9, 9, (), "No_Person/a/1.jpg"), 2, 10),
        (Outcome(2, "rejected", "small", 9, 9, (Person((0.0, 0.0, 1.0, 1.0), 0.5),)), 3, 10),
        (Outcome(3, "failed", "damaged"), 4, 10),
        (Outcome(4, "skipped", "folder"), 0, 0),
    )
    table, failures = summary.summarize(tmp_path, {"a": "raw/a.zip"})
    assert list(table.columns) == summary.COLUMNS
    assert table.iloc[0].to_dict() == {
        "archive": "a",
        "zip": "raw/a.zip",
        "fingerprint": "f-a",
        "members": 5,
        "images": 3,
        "person_images": 1,
        "no_person_images": 1,
        "rejected_images": 1,
        "failed": 1,
        "skipped": 1,
        "crops": 2,
        "duplicates": 0,
        "bytes": 40,
        "seconds": 2.0,
        "images_per_second": 1.5,
    }
    assert failures == ["'3.jpg' in raw/a.zip: damaged"]


def test_duplicates_go_by_content_in_order_of_archives(tmp_path: Path) -> None:
    publish(tmp_path, "a", (person(0, "a"), 1, 10), (person(1, "a"), 1, 10), (person(2, "a"), 1, 11))
    publish(tmp_path, "b", (person(0, "b"), 1, 11), (person(1, "b"), 2, 10), (Outcome(2, "failed", "x"), 1, 10))
    table, _ = summary.summarize(tmp_path, {"a": "a.zip", "b": "b.zip"})
    assert table["duplicates"].tolist() == [1, 1]


def test_a_failed_archive_counts_as_one_failure(tmp_path: Path) -> None:
    publish(tmp_path, "a", rows=manifest.failed_archive_rows("a", "is empty"))
    table, failures = summary.summarize(tmp_path, {"a": "a.zip"})
    assert (table["members"][0], table["failed"][0], table["images"][0]) == (1, 1, 0)
    assert failures == ["archive a.zip is empty"]
    summary.write(table, tmp_path)
    with pytest.raises(ZipcropError, match=r"strict: failures: 1, in a; the reasons"):
        summary.require_no_failures(tmp_path / "summary.csv")


def test_results_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    publish(tmp_path, "a", (person(0, "a"), 1, 10))
    (tmp_path / "Person/a/0_0.jpg").unlink()
    with pytest.raises(ZipcropError, match="results of a do not add up"):
        summary.summarize(tmp_path, {"a": "a.zip"})


def test_names_that_look_like_missing_values(tmp_path: Path) -> None:
    publish(tmp_path, "NA", (person(0, "NA"), 1, 10))
    table, _ = summary.summarize(tmp_path, {"NA": "NA.zip"})
    assert table["crops"].tolist() == [1]


def test_orphans_are_found_and_removed_but_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path, "gone", (person(0, "gone"), 1, 10))
    publish(tmp_path, "gone/nested", (person(0, "gone/nested"), 1, 10))
    (tmp_path / "Person/gone/.snakemake_timestamp").write_text("")
    assert summary.orphans(tmp_path, ["gone/nested", "new"]) == ["gone"]
    summary.remove(tmp_path, "gone", ["gone/nested", "new"])
    assert summary.orphans(tmp_path, ["gone/nested", "new"]) == []
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert [path for path in left if not path.endswith(".snakemake_timestamp")] == [
        "Person/gone/nested/0_0.jpg",
        "manifests/gone/nested.csv",
        "manifests/gone/nested.json",
    ]
    summary.remove(tmp_path, "gone/nested", [])
    assert not (tmp_path / "Person/gone/nested").exists()


def test_files_that_a_live_archive_took_over_are_kept(tmp_path: Path) -> None:
    file = "Person/photos/2024/a_0.jpg"
    outcome = Outcome(0, "person", "", 9, 9, (Person((0.0, 0.0, 9.0, 9.0), 0.5, file),))
    publish(tmp_path, "photos", (outcome, 1, 10))
    publish(tmp_path, "photos/2024", (outcome, 1, 10))
    summary.remove(tmp_path, "photos", ["photos/2024"])
    assert (tmp_path / file).exists()
    assert not manifest.path(tmp_path, "photos").exists()
