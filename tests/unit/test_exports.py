from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from manifests import FAILED, SKIPPED, UGLY_NAMES, no_person, person, publish, rejected

from zipcrop import exports, files, manifest
from zipcrop.errors import ResultsError


def test_archives_are_those_of_the_summary_in_its_order(tmp_path: Path) -> None:
    publish(tmp_path, {'b/it\'s, "so"': [], "NA": [], "a": []})
    assert exports.archives(tmp_path) == {
        'b/it\'s, "so"': 'raw/b/it\'s, "so".zip',
        "NA": "raw/NA.zip",
        "a": "raw/a.zip",
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


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "below" / "target"
    with exports.whole(target) as part:
        part.mkdir()
        (part / "old").touch()
        assert not target.exists()
    with pytest.raises(OSError), exports.whole(target) as part:
        part.mkdir()
        raise OSError
    assert list(target.parent.rglob("*")) == [target, target / "old"]
    with exports.whole(target) as part:
        part.write_text("what a kill leaves")
        part.rename(tmp_path / "left")
        target.rename(tmp_path / "before")
        part.write_text("new")
    (tmp_path / "left").rename(part)
    with exports.whole(target) as part:
        assert not part.exists()
        part.write_text("newest")
    assert [path.read_text() for path in target.parent.iterdir()] == ["newest"]


def test_what_becomes_whole_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it gets its name, since a file system may keep the name and lose the content."""
    done: list[tuple[str, str]] = []
    sync, fsync, replace = files.sync, os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        done.append((f"flush {path.name}", path.read_text() if path.is_file() else ""))
        fsync(descriptor)

    def note_sync(path: Path) -> None:
        done.append((f"sync {path.name}", "".join(each.read_text() for each in path.iterdir())))
        sync(path)

    def note_replace(path: Path, target: Path) -> Path:
        done.append((f"rename {path.name}", target.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(files, "sync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    with exports.whole(tmp_path / "file") as part:
        part.write_text("content")
    with exports.whole(tmp_path / "folder") as part:
        part.mkdir()
        (part / "x").write_text("content")
    assert done == [
        ("flush .file.part", "content"),
        ("rename .file.part", "file"),
        (f"flush {tmp_path.name}", ""),
        ("sync .folder.part", "content"),
        ("rename .folder.part", "folder"),
        (f"flush {tmp_path.name}", ""),
    ]


def test_what_cannot_be_flushed_does_not_become_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError), exports.whole(tmp_path / "file") as part:
        part.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_no_link_is_followed_from_where_something_becomes_whole(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").write_text("another's")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", ".a.part", ".b.part"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    (folder / "b").symlink_to(tmp_path / "elsewhere/x")
    with exports.whole(folder / "a") as part:
        part.mkdir()
        (part / "x").write_text("mine")
    with exports.whole(folder / "b") as part:
        part.write_text("mine")
    assert [(folder / name).read_text() for name in ("a/x", "b")] == ["mine", "mine"]
    assert (tmp_path / "elsewhere/x").read_text() == "another's"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_the_longest_names_become_whole(tmp_path: Path) -> None:
    for name in ("ü" * 127, "x" * 255, f"{'x' * 254}y"):
        with exports.whole(tmp_path / name) as part:
            part.write_text(name)
    assert {path.name for path in tmp_path.iterdir()} == {path.read_text() for path in tmp_path.iterdir()}
