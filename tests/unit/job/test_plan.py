from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.files import make_zip
from helpers.job import SETTINGS as TEST_SETTINGS
from zipcrop import RESULTS_VERSION, files
from zipcrop.archive import catalog
from zipcrop.archive.source import LocalFile
from zipcrop.job import plan, staged
from zipcrop.job.plan import NEW, Plan, Wanted
from zipcrop.job.staging import Staging
from zipcrop.results import layout, manifest, soundness
from zipcrop.results.manifest import Content, Outcome
from zipcrop.settings import Settings

SETTINGS = Settings.from_flat(TEST_SETTINGS)
OTHERS = Settings.from_flat({**TEST_SETTINGS, "confidence": 0.3})
WANTED = Wanted("best.pt", "ab" * 32, "", SETTINGS)
CONTENTS = {
    "Person/{}/x_0.jpg": b"a crop",
    "No_Person/{}/sub/y.jpg": b"an original",
    "No_Person/{}/sub/Gro\u0308\u00dfe.jpg": b"another",
    "Person/{}/._called_like_one_of_macos_0.jpg": b"a crop, too",
}
SEEN = list(CONTENTS)[:3]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder with the results of two archives, which lie in `raw` beside it."""
    for archive in ("a", "b"):
        make_zip(tmp_path / "raw" / f"{archive}.zip", [("x.jpg", archive.encode())])
    for archive, at in catalog.find_archives(str(tmp_path / "raw")).items():
        publish(tmp_path / "output", archive, at.fingerprint())
    return tmp_path / "output"


def publish(output: Path, archive: str, fingerprint: str, **record: Any) -> None:
    outcomes = [
        Outcome(index, "no_person", file=file.format(archive), contents=(Content.of(data),))
        for index, (file, data) in enumerate(CONTENTS.items())
    ]
    with Staging(output, archive, "key") as staged:
        staged.resume()
        for outcome, data in zip(outcomes, CONTENTS.values(), strict=True):
            files.create(staged.folder / outcome.file, data)
        rows = [
            manifest.Row(archive, member_index=outcome.index, status=outcome.status, file=outcome.file)
            for outcome in outcomes
        ]
        made = {
            "fingerprint": fingerprint,
            "model": {"name": "best.pt", "sha256": WANTED.sha256, "quantized": ""},
            "settings": SETTINGS.flat(),
            "versions": {"results": str(RESULTS_VERSION)},
        }
        staged.publish(rows, outcomes, {**made, **record})


def make(output: Path, wanted: Wanted = WANTED) -> Plan:
    return plan.make(output, catalog.find_archives(str(output.parent / "raw")), wanted)


def change_record(output: Path, archive: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = layout.record(output, archive)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_what_is_done_is_not_done_again(output: Path) -> None:
    made = make(output)
    assert made.pending == {}
    assert made.unreadable == {}
    assert made.in_words() == ""
    assert set(made.fingerprints) == {"a", "b"}


def test_a_new_archive_and_other_content(output: Path) -> None:
    make_zip(output.parent / "raw/a.zip", [("x.jpg", b"other")])
    make_zip(output.parent / "raw/c.zip", [])
    made = make(output)
    assert made.pending == {"a": "other content", "c": NEW}
    assert made.in_words() == "done again: 1 for other content"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Wanted("best.pt", "cd" * 32, "", SETTINGS), "other weights"),
        (Wanted("best.pt", "ab" * 32, "other", SETTINGS), "other weights"),
        (Wanted("other.pt", "", "", SETTINGS), "other weights"),
        (Wanted("best.pt", "ab" * 32, "", OTHERS), "another confidence"),
    ],
)
def test_what_is_made_with_something_else_is_done_again(output: Path, wanted: Wanted, reason: str) -> None:
    assert make(output, wanted).pending == {"a": reason, "b": reason}


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("copy.pt", "ab" * 32, "", SETTINGS),
        Wanted("best.pt", "", "", SETTINGS),
    ],
    ids=["weights of another name", "weights that are not there"],
)
def test_what_is_the_same_is_not_done_again(output: Path, wanted: Wanted) -> None:
    assert make(output, wanted).pending == {}


def test_a_record_that_is_older_than_a_setting_stands_for_its_default(output: Path) -> None:
    change_record(output, "a", lambda record: record["settings"].pop("confidence"))
    assert make(output).pending == {"a": "another confidence"}
    assert make(output, dataclasses.replace(WANTED, defaults=OTHERS)).pending == {"a": "another confidence"}
    assert make(output, dataclasses.replace(WANTED, defaults=SETTINGS)).pending == {}


def test_another_version_of_the_results(output: Path) -> None:
    change_record(output, "a", lambda record: record["versions"].update(results="0"))
    assert make(output).pending == {"a": "another version of zipcrop"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "{}", '{"model": 1}', "\0\0\0", "[" * 100_000])
def test_a_damaged_record_is_no_record(output: Path, text: str) -> None:
    layout.record(output, "a").write_text(text)
    assert list(make(output).pending) == ["a"]


@pytest.mark.parametrize(
    "results",
    [
        1,
        {},
        {"files": "x"},
        {"files": float("inf")},
        {"files": 2, "bytes": 17, "manifest_bytes": None, "folders": 3, "boot": []},
    ],
)
def test_a_record_of_odd_results_is_damaged(output: Path, results: object) -> None:
    change_record(output, "a", lambda record: record.update(results=results))
    assert list(make(output).pending) == ["a"]


def test_a_record_of_an_older_version_is_good(output: Path) -> None:
    change_record(output, "a", lambda record: record.pop("results"))
    assert make(output).pending == {}
    (output / "manifests/a.csv").write_bytes(b"")
    assert list(make(output).pending) == ["a"]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


LOSSES = [Path.unlink, empty, cut, make_a_folder, make_a_link, make_a_pipe]


@pytest.mark.parametrize("loss", [*LOSSES, fill_with_zeros])
def test_a_manifest_that_is_not_as_it_was(output: Path, loss: Callable[[Path], object]) -> None:
    loss(output / "manifests/a.csv")
    assert list(make(output).pending) == ["a"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("file", [file.format("a") for file in SEEN])
def test_files_that_are_gone_or_cut_off(output: Path, loss: Callable[[Path], object], file: str) -> None:
    loss(output / file)
    assert list(make(output).pending) == ["a"]


@pytest.mark.parametrize("gone", ["Person/a", "No_Person/a", "No_Person/a/sub", "Person"])
def test_folders_that_are_gone(output: Path, gone: str) -> None:
    shutil.rmtree(output / gone)
    assert "a" in make(output).pending


@pytest.mark.parametrize("name", [".DS_Store", "._x_0.jpg", "Thumbs.db", "mine.txt", "sub/mine.txt"])
def test_files_that_are_put_there_change_nothing(output: Path, name: str) -> None:
    path = output / "Person/a" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("a crop" if name.endswith(".txt") else "")
    assert make(output).pending == {}
    (output / "Person/a/x_0.jpg").unlink()
    assert list(make(output).pending) == ["a"]


def test_of_very_many_files_sizes_are_looked_at_once_after_each_start_of_the_system(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_FEW_FILES", 1)
    empty(output / "Person/a/x_0.jpg")
    assert make(output).pending == {}  # made since the last start
    monkeypatch.setattr(soundness, "boot", lambda: "the next start")
    assert list(make(output).pending) == ["a"]
    assert list(make(output).pending) == ["a"]  # until it is done again
    (output / "Person/a/x_0.jpg").write_bytes(b"a crop")
    assert make(output).pending == {}
    empty(output / "Person/a/x_0.jpg")
    assert make(output).pending == {}
    (output / "Person/a/x_0.jpg").unlink()
    assert list(make(output).pending) == ["a"]


def test_a_manifest_of_the_right_length_that_cannot_be_read(output: Path) -> None:
    (output / "Person/a/mine.txt").touch()
    path = output / "manifests/a.csv"
    table = path.read_bytes()
    middle = len(table) // 2
    path.write_bytes(table[:middle] + b'"' + table[middle + 1 :])
    assert list(make(output).pending) in ([], ["a"])  # and no traceback


def test_folders_of_a_copy_are_looked_at_once(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_FEW_FILES", 1)
    for folder in (output / "Person/a", output / "No_Person/b/sub"):
        os.utime(folder, (1, 1))
    looks = []
    original = soundness._problem_of_files

    def look(output: Path, archive: str, said: Any) -> str:
        looks.append(archive)
        return original(output, archive, said)

    monkeypatch.setattr(soundness, "_problem_of_files", look)
    for expected in (["a", "b"], []):
        assert make(output).pending == {}
        assert looks == expected
        looks.clear()
    (output / "Person/a/x_0.jpg").unlink()
    assert list(make(output).pending) == ["a"]


def test_where_it_is_not_known_whether_the_system_was_started_sizes_are_looked_at(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_FEW_FILES", 1)
    monkeypatch.setattr(soundness, "boot", lambda: "")
    empty(output / "Person/a/x_0.jpg")
    assert list(make(output).pending) == ["a"]


FAULTS = [
    (errno.EIO, "Input/output error"),
    (errno.EACCES, "Permission denied"),
    (errno.ESTALE, "Stale file handle"),
    (errno.ENOENT, "No such file or directory"),
]


@pytest.mark.parametrize(("number", "said"), FAULTS)
def test_an_archive_that_cannot_be_read_keeps_its_fingerprint(
    output: Path, number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make(output).fingerprints
    original = LocalFile.__init__

    def refuse(self: LocalFile, path: str, anew: bool = False) -> None:
        if path.endswith("a.zip"):
            raise OSError(number, os.strerror(number), path)
        original(self, path, anew)

    make_zip(output.parent / "raw/b.zip", [])
    monkeypatch.setattr(LocalFile, "__init__", refuse)
    made = make(output)
    assert made.unreadable == {"a": said}
    assert list(made.pending) == ["b"]
    assert made.fingerprints["a"] == before["a"]
    # With other settings it is to be done again; that will fail and leave the results that are there.
    assert "a" in make(output, Wanted("best.pt", "cd" * 32, "", SETTINGS)).pending


def test_what_never_could_be_read_is_new(output: Path) -> None:
    (output.parent / "raw/c.zip").symlink_to(output.parent / "nowhere")
    made = make(output)
    assert made.pending == {"c": NEW}
    assert made.unreadable == {}


def test_what_is_forced_is_done_again(output: Path) -> None:
    staged.force(output, "a")
    assert make(output).pending == {"a": "being forced"}


def test_whether_one_archive_is_done(output: Path) -> None:
    fingerprint = make(output).fingerprints["a"]
    assert plan.is_done(output, "a", fingerprint, WANTED)
    assert not plan.is_done(output, "a", "another", WANTED)
    assert not plan.is_done(output, "c", fingerprint, WANTED)
    empty(output / "Person/a/x_0.jpg")
    assert not plan.is_done(output, "a", fingerprint, WANTED)
