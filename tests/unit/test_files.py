from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zipcrop import files

PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, victim: path.symlink_to(victim),
    "dangling link": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "second name": lambda path, victim: path.hardlink_to(victim),
    "pipe": lambda path, victim: os.mkfifo(path),
    "file": lambda path, victim: path.write_text("a longer text than the new one"),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_what_is_created_is_a_new_file(plant: Callable[[Path, Path], object], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "made" / "file"
    path.parent.mkdir()
    plant(path, victim)
    files.create(path, b"new")
    assert path.read_bytes() == b"new" and not path.is_symlink()
    assert victim.read_text() == "precious"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["made", "victim"]


def test_folders_are_made_for_what_is_created(tmp_path: Path) -> None:
    files.create(tmp_path / "a" / "b" / "c", b"")
    assert (tmp_path / "a/b/c").is_file()


@pytest.mark.parametrize("mode", ["r", "a+"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_only_regular_files_are_opened(kind: str, mode: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    PLANTED[kind](tmp_path / "file", tmp_path / "victim")
    with pytest.raises(OSError, match=r"Too many levels|not a regular file"):
        files.open_regular(tmp_path / "file", mode)
    with pytest.raises(OSError, match=r"Too many levels|not a regular file"):
        files.open_bytes(tmp_path / "file")
    assert not (tmp_path / "new").exists()


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").touch()
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "link").symlink_to(tmp_path / "victim")
    files.remove_with_empty_parents(tmp_path / "root" / "a" / "link", tmp_path / "root")
    assert (tmp_path / "victim" / "file").exists()
    assert list((tmp_path / "root").iterdir()) == []


def test_syncing_reaches_the_file_system_and_says_what_is_wrong(tmp_path: Path) -> None:
    files.sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync(tmp_path / "nothing")


def test_where_only_everything_can_be_flushed_everything_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(files, "_syncfs", lambda: None)
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    files.sync(tmp_path)
    assert calls == ["sync"]
