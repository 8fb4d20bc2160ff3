from __future__ import annotations

import errno
import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from zipcrop.archive.reader import Member
from zipcrop.errors import MachineError, ResultsError, ZipcropError
from zipcrop.results import layout, manifest, prune, record, summary, tables
from zipcrop.results.manifest import Outcome, Person

RECORD = {
    "model": {"name": "n.pt", "sha256": "ab", "quantized": ""},
    "settings": {"confidence": 0.25, "crop.padding": 0},
    "device": "cpu",
    "engine": "openvino",
    "versions": {},
    "seconds": 2.0,
}


def publish(
    output: Path, archive: str, *members: tuple[Outcome, int, int], rows: list[manifest.Row] | None = None
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
    path = layout.manifest(output, archive)
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest.write(path, rows)
    layout.record(output, archive).write_text(json.dumps({**RECORD, "fingerprint": f"f-{archive}"}))


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
    table, failures, warnings = summary.summarize(tmp_path, {"a": "raw/a.zip"})
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
    assert warnings == []


def test_duplicates_go_by_content_in_order_of_archives(tmp_path: Path) -> None:
    publish(tmp_path, "a", (person(0, "a"), 1, 10), (person(1, "a"), 1, 10), (person(2, "a"), 1, 11))
    publish(tmp_path, "b", (person(0, "b"), 1, 11), (person(1, "b"), 2, 10), (Outcome(2, "failed", "x"), 1, 10))
    table, *_ = summary.summarize(tmp_path, {"a": "a.zip", "b": "b.zip"})
    assert table["duplicates"].tolist() == [1, 1]


def test_a_failed_archive_counts_as_one_failure(tmp_path: Path) -> None:
    publish(tmp_path, "a", rows=manifest.failed_archive_rows("a", "is empty"))
    table, failures, _ = summary.summarize(tmp_path, {"a": "a.zip"})
    assert (table["members"][0], table["failed"][0], table["images"][0]) == (1, 1, 0)
    assert failures == ["archive a.zip is empty"]
    summary.write(table, tmp_path)
    with pytest.raises(ZipcropError, match=r"strict: failures: 1, in a; the reasons"):
        summary.require_no_failures(tmp_path / "summary.csv")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Those of two archives: 6 crops and an original of `a`, one crop of `b/c`."""
    original = Outcome(2, "no_person", "", 9, 9, (), "No_Person/a/deep/Ä.jpg")
    publish(tmp_path, "a", (person(0, "a", crops=5), 1, 10), (person(1, "a"), 2, 10), (original, 3, 10))
    publish(tmp_path, "b/c", (person(0, "b/c"), 4, 10))
    return tmp_path


def warnings_of(output: Path) -> list[str]:
    """Those of the summary, which has both archives whatever has become of their files."""
    table, failures, warnings = summary.summarize(output, {"a": "a.zip", "b/c": "b/c.zip"})
    assert table["crops"].tolist() == [6, 1]
    assert failures == []
    return [warning.replace(f"{output}/", "") for warning in warnings]


def test_files_that_were_deleted_or_added_are_warned_of(results: Path) -> None:
    assert warnings_of(results) == []
    (results / "Person/a/0_0.jpg").unlink()
    (results / "Person/b/c/new.jpg").touch()
    assert warnings_of(results) == [
        "Person/a has 1 file fewer than its manifest says: '0_0.jpg'",
        "Person/b/c has 1 file more than its manifest says: 'new.jpg'",
    ]


def test_a_file_in_the_place_of_another_is_warned_of(results: Path) -> None:
    (results / "Person/a/0_0.jpg").rename(results / "Person/a/mine.jpg")
    (results / "No_Person/a/deep/Ä.jpg").unlink()
    assert warnings_of(results) == [
        "Person/a has 1 file more than its manifest says: 'mine.jpg'",
        "Person/a has 1 file fewer than its manifest says: '0_0.jpg'",
        "No_Person/a has 1 file fewer than its manifest says: 'deep/Ä.jpg'",
    ]


def test_a_warning_names_a_few_files(results: Path) -> None:
    for k in range(5):
        (results / f"Person/a/0_{k}.jpg").unlink()
    (results / "Person/b/c/deep").mkdir()
    for k in range(3):
        (results / f"Person/b/c/deep/{k}\n").touch()
    assert warnings_of(results) == [
        "Person/a has 5 files fewer than its manifest says: '0_0.jpg', '0_1.jpg', '0_2.jpg', …",
        "Person/b/c has 3 files more than its manifest says: 'deep/0\\n', 'deep/1\\n', 'deep/2\\n'",
    ]


@pytest.mark.parametrize(
    "name", [".DS_Store", "._0_0.jpg", "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", ".snakemake_timestamp"]
)
def test_what_systems_leave_by_themselves_is_passed_over(name: str, results: Path) -> None:
    for folder in ("Person/a", "No_Person/a/deep", "Person/b/c"):
        (results / folder / name).write_text("x")
    assert warnings_of(results) == []


def test_a_result_that_is_called_like_what_systems_leave_is_missed(tmp_path: Path) -> None:
    publish(tmp_path, "a", (Outcome(0, "no_person", "", 9, 9, (), "No_Person/a/._x.jpg"), 1, 10))
    (tmp_path / "No_Person/a/._x.jpg").unlink()
    (warning,) = summary.summarize(tmp_path, {"a": "a.zip"}).warnings
    assert warning.endswith("No_Person/a has 1 file fewer than its manifest says: '._x.jpg'")


def test_names_in_another_normalisation_are_the_same(results: Path) -> None:
    file = results / "No_Person/a/deep/Ä.jpg"
    file.rename(file.with_name(unicodedata.normalize("NFD", file.name)))
    assert warnings_of(results) == []


def test_no_link_is_followed(results: Path) -> None:
    elsewhere = results / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.jpg").touch()
    (results / "Person/a/link").symlink_to(elsewhere)
    (results / "Person/a/up").symlink_to("..")
    (results / "Person/a/0_0.jpg").unlink()
    (results / "Person/a/0_0.jpg").symlink_to(elsewhere / "x.jpg")
    (results / "Person/b/c").rename(elsewhere / "c")
    (results / "Person/b/c").symlink_to(elsewhere / "c")
    assert warnings_of(results) == [
        "Person/a has 2 files more than its manifest says: 'link', 'up'",
        "Person/a has 1 file fewer than its manifest says: '0_0.jpg'",
        "Person/b/c has 1 file fewer than its manifest says: '0_0.jpg'",
    ]


def test_a_folder_that_is_gone_is_warned_of(results: Path) -> None:
    (results / "No_Person/a/deep/Ä.jpg").unlink()
    (results / "No_Person/a/deep").rmdir()
    (results / "No_Person/a").rmdir()
    (results / "No_Person/a").touch()
    assert warnings_of(results) == ["No_Person/a has 1 file fewer than its manifest says: 'deep/Ä.jpg'"]


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), 1)

    return change


BAD_MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "is empty": lambda data: b"",
    "is cut off": lambda data: data[: len(data) // 2],
    "is cut off ": lambda data: data[:-1],
    "has a row that is cut off": lambda data: data[: data.rindex(b",Person")] + b"\r\n",
    "is no manifest": lambda data: b"\xff" + data,
    "is no manifest ": lambda data: data + b'"\r\n',
    "has not the columns of a manifest": lambda data: bytes(1000) + b"\n",
    "has not the columns of a manifest ": replaced("width", "breadth"),
    "has not the columns of a manifest  ": lambda data: data.replace(b"a,", b"a,a,"),
    "has not the columns of a manifest   ": replaced("\r\na,", "\r\na," + "a," * 20),
    "is no manifest  ": lambda data: data + b"a," * 20 + b"\r\n",
    "is no manifest   ": lambda data: data[: len(data) // 2] + bytes(range(256)) * 20 + b"\n",
    "is another archive's": replaced("\r\na,", "\r\nb,"),
    "has a status that there is not": replaced(",person,,", ",people,,"),
    "has a crc32 that is none": replaced("00000001", "0x000001"),
    "is no manifest    ": replaced(",10,", ",ten,"),
    "is no manifest      ": replaced(",10,", f",{2**64},"),
    "is no manifest       ": replaced(",10,", ",-10,"),
    "is no manifest     ": replaced(",0,00000001", ",zero,00000001"),
    "has a width that is none": replaced(",9,9,", ",,9,"),
    "has a width that is none ": replaced(",9,9,", ",0,9,"),
    "has a height that is none": replaced(",9,9,", ",9,9.5,"),
    "has a person that is none": replaced(",9,9,0,", ",9,9,,"),
    "has a confidence that is none": replaced(",0.5,", ",half,"),
    "has a confidence that is none ": replaced(",0.5,", ",nan,"),
    "has a confidence that is none  ": replaced(",0.5,", ",,"),
    "has a x2 that is none": replaced("0.0,0.0,9.0", "0.0,0.0,inf"),
}
BAD_RECORDS: dict[str, Callable[[bytes], bytes]] = {
    "is empty": lambda data: b"",
    "is no record": lambda data: data[: len(data) // 2],
    "is no record ": lambda data: bytes(len(data)),
    "is no record  ": lambda data: b"\xff\xfe",
    "is no record   ": lambda data: b"[]",
    "is no record    ": lambda data: b"[" * 100_000,
    "is no record     ": replaced("2.0", '"2.0"'),
    "is no record      ": replaced("2.0", "NaN"),
    "is no record       ": replaced("2.0", "1e999"),
    "is no record        ": replaced("2.0", "1" + "0" * 400),
    "is no record         ": replaced("fingerprint", "hash"),
    "is no record          ": replaced("crop.padding", "padding"),
    "is no record           ": replaced("f-a", "\\ud800"),
    "does not name the model": replaced("sha256", "sha1"),
}
BAD = [
    *((layout.manifest, what, change) for what, change in BAD_MANIFESTS.items()),
    *((layout.record, what, change) for what, change in BAD_RECORDS.items()),
]


@pytest.mark.parametrize(("path_of", "what", "change"), BAD)
def test_an_archive_whose_results_cannot_be_read_is_named_and_left_out(
    path_of: Callable[[Path, str], Path], what: str, change: Callable[[bytes], bytes], results: Path
) -> None:
    path = path_of(results, "a")
    path.write_bytes(change(path.read_bytes()))
    table, failures, warnings = summary.summarize(results, {"a": "a.zip", "b/c": "b/c.zip"})
    assert (table["archive"].tolist(), failures) == (["b/c"], [])
    assert warnings == [f"results of a cannot be read: {path} {what.strip()}; delete it and run again"]
    summary.write(table, results)
    with pytest.raises(ZipcropError, match=r"strict: the results of a cannot be read; delete their manifests"):
        summary.require_no_failures(results / "summary.csv")


@pytest.mark.parametrize("path_of", [layout.manifest, layout.record])
def test_what_is_no_file_cannot_be_read(path_of: Callable[[Path, str], Path], results: Path) -> None:
    path = path_of(results, "a")
    path.unlink()
    read = tables.read if path_of is layout.manifest else record.read
    with pytest.raises(ResultsError, match=r"is missing; delete it and run again"):
        read(results, "a")
    os.mkfifo(path)
    with pytest.raises(ResultsError, match=r"is no file; delete it and run again"):
        read(results, "a")


def test_no_archive_at_all_is_a_table_without_rows(tmp_path: Path) -> None:
    table, failures, warnings = summary.summarize(tmp_path, {})
    assert (len(table), list(table.columns), failures, warnings) == (0, summary.COLUMNS, [], [])


def test_sizes_beyond_64_bits_add_up(tmp_path: Path) -> None:
    largest = 2**64 - 1
    publish(tmp_path, "a", (person(0, "a"), 1, largest), (Outcome(1, "failed", "too large"), 2, largest))
    publish(tmp_path, "b", (person(0, "b"), 1, 2**32 - 1), (Outcome(1, "failed", "too large"), 2, 2**53 + 1))
    publish(tmp_path, "c", rows=manifest.failed_archive_rows("c", "is empty"))
    table, *_ = summary.summarize(tmp_path, {"a": "a.zip", "b": "b.zip", "c": "c.zip"})
    summary.write(table, tmp_path)
    for each in (table, summary.read(tmp_path / "summary.csv")):
        assert each["bytes"].tolist() == [2 * largest, 2**32 + 2**53, 0]
        assert each["duplicates"].tolist() == [0, 1, 0]  # by the lower half of the size
    assert tables.read(tmp_path, "a")["bytes"].tolist() == [largest, largest]
    assert summary.closing_line(table).startswith("3 archives, 2 images")


def test_the_summary_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "summary.csv").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        summary.write(summary.summarize(tmp_path, {}).table, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_names_that_look_like_missing_values(tmp_path: Path) -> None:
    publish(tmp_path, "NA", (person(0, "NA"), 1, 10))
    table, *_ = summary.summarize(tmp_path, {"NA": "NA.zip"})
    assert table["crops"].tolist() == [1]


def test_orphans_are_found_and_removed_but_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path, "gone", (person(0, "gone"), 1, 10))
    publish(tmp_path, "gone/nested", (person(0, "gone/nested"), 1, 10))
    (tmp_path / "Person/gone/.snakemake_timestamp").write_text("")
    assert summary.orphans(tmp_path, ["gone/nested", "new"]) == ["gone"]
    prune.remove(tmp_path, "gone", ["gone/nested", "new"])
    assert summary.orphans(tmp_path, ["gone/nested", "new"]) == []
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert [path for path in left if not path.endswith(".snakemake_timestamp")] == [
        "Person/gone/nested/0_0.jpg",
        "manifests/gone/nested.csv",
        "manifests/gone/nested.json",
    ]
    prune.remove(tmp_path, "gone/nested", [])
    assert not (tmp_path / "Person/gone/nested").exists()


def test_files_that_a_live_archive_took_over_are_kept(tmp_path: Path) -> None:
    file = "Person/photos/2024/a_0.jpg"
    outcome = Outcome(0, "person", "", 9, 9, (Person((0.0, 0.0, 9.0, 9.0), 0.5, file),))
    publish(tmp_path, "photos", (outcome, 1, 10))
    publish(tmp_path, "photos/2024", (outcome, 1, 10))
    prune.remove(tmp_path, "photos", ["photos/2024"])
    assert (tmp_path / file).exists()
    assert not layout.manifest(tmp_path, "photos").exists()


def test_only_the_archives_own_files_are_removed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    own = ("Person/gone/a_0.jpg", "Person/gone/deep/b_0.jpg")
    link, within = "Person/gone/link_0.jpg", "Person/gone/linked/x.jpg"
    planted = ("../victim", str(tmp_path / "victim"), "Person/live/x.jpg", "Person/gone/deep", link, within)
    persons = tuple(Person((0.0, 0.0, 9.0, 9.0), 0.5, file) for file in own)
    publish(output, "gone", (Outcome(0, "person", "", 9, 9, persons), 1, 10))
    (tmp_path / "victim").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/x.jpg").touch()
    (output / "Person/live").mkdir()
    (output / "Person/live/x.jpg").touch()
    (output / link).symlink_to(tmp_path / "victim")
    (output / within).parent.symlink_to(tmp_path / "folder")
    persons = tuple(Person((0.0, 0.0, 9.0, 9.0), 0.5, file) for file in own + planted)
    member = Member(0, "0.jpg", 1, 10, "")
    manifest.write(
        layout.manifest(output, "gone"), manifest.rows("gone", member, Outcome(0, "person", "", 9, 9, persons))
    )
    assert prune.own_files(output, "gone", []) == (list(own), list(planted))
    assert prune.remove(output, "gone", []) == list(planted)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir())
    assert left == ["folder/x.jpg", f"output/{link}", "output/Person/live/x.jpg", "victim"]
    assert (output / within).exists()


@pytest.mark.parametrize("folder", ["Person/gone", "Person"])
def test_no_folder_is_removed_through_a_link(folder: str, tmp_path: Path) -> None:
    publish(tmp_path, "gone", (person(0, "gone"), 1, 10))
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    (tmp_path / folder).symlink_to("../elsewhere" if "/" in folder else "elsewhere")
    before = list((tmp_path / "elsewhere").rglob("*"))
    assert prune.remove(tmp_path, "gone", []) == ["Person/gone/0_0.jpg"]
    assert list((tmp_path / "elsewhere").rglob("*")) == before
    assert (tmp_path / folder).is_symlink()


def test_no_manifest_is_removed_through_a_link(tmp_path: Path) -> None:
    output = tmp_path / "output"
    publish(output, "a/gone", (person(0, "a/gone"), 1, 10))
    (output / "manifests/a").rename(tmp_path / "elsewhere")
    (output / "manifests/a").symlink_to("../../elsewhere")
    assert summary.orphans(output, []) == []
    with pytest.raises(MachineError, match="leads out of"):
        prune.remove(output, "a/gone", [])
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["gone.csv", "gone.json"]


def test_a_folder_is_no_archive_that_is_gone(tmp_path: Path) -> None:
    publish(tmp_path, "x.csv/y", (person(0, "x.csv/y"), 1, 10))
    assert summary.orphans(tmp_path, ["x.csv/y"]) == []
