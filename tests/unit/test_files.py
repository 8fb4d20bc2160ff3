from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.environment import patched_everywhere
from helpers.project import ROOT
from helpers.results import people, publish, without
from zipcrop import files
from zipcrop.report import survey, survey_file
from zipcrop.results import summary

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
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
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


def test_files_and_folders_can_be_flushed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        files.flush(path)
        files.sync(path)
    for write_out in (files.flush, files.sync):
        with pytest.raises(FileNotFoundError):
            write_out(tmp_path / "gone")


def failing(code: int) -> int:
    ctypes.set_errno(code)
    return -1


def test_a_disk_that_fails_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "_syncfs", lambda descriptor: failing(errno.ENOSPC))
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path}'"):
        files.flush(tmp_path)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        files.sync(tmp_path)


def test_a_file_system_that_cannot_flush_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    files.flush(tmp_path)


@pytest.mark.parametrize("syncfs", [None, lambda descriptor: failing(errno.ENOSYS)])
def test_without_syncfs_everything_is_flushed(syncfs: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(os, "sync", lambda: called.append("sync"))
    monkeypatch.setattr(files, "_syncfs", syncfs)
    files.sync(tmp_path)
    assert called == ["sync"]


_NOTE = """
def patch(module):
    sync = module.sync

    def noting(path):
        sync(path)
        walk = [(folder, name) for folder, _, names in os.walk(path) for name in names]
        found = {name: os.path.getsize(os.path.join(folder, name)) for folder, name in walk}
        with open(os.environ["NOTED"], "a") as file:
            file.write(__import__("json").dumps([str(path), found]) + "\\n")

    module.sync = noting
"""


@pytest.mark.parametrize("script", ["draw_plots", "draw_sheets", "write_pages"])
def test_the_report_is_flushed_when_it_is_written(script: str, tmp_path: Path) -> None:
    output, folder, noted = tmp_path / "output", tmp_path / "output/summary", tmp_path / "noted"
    publish(output, {"a": [people("x.jpg", 0.9), without("y.jpg", 0.1)]})
    folder.mkdir()
    survey_file.write(survey.survey(output, summary.read(output / "summary.csv"), 2, 2), tmp_path / "survey.json")
    sampling = {"seed": 0, "sheets": 2, "crops_per_sheet": 2, "photos_per_sheet": 2}
    options = {
        "draw_plots": [f"--folder={folder}"],
        "draw_sheets": [
            f"--output={output}",
            f"--crops={folder / 'crops'}",
            f"--photos={folder / 'photos'}",
            f"--sampling={json.dumps(sampling)}",
            "--threads=1",
            "--seconds=60",
            "--megapixels=100",
        ],
        "write_pages": [f"--output={output}", f"--folder={folder}", "--threads=1", "--seconds=60", "--megapixels=100"],
    }[script]
    environment = {**os.environ, **patched_everywhere(tmp_path / "patch", "zipcrop.files", _NOTE), "NOTED": str(noted)}
    command = [sys.executable, str(ROOT / f"workflow/scripts/{script}.py")]
    command += [f"--survey={tmp_path / 'survey.json'}", *options]
    subprocess.run(command, env=environment, check=True)
    path, found = json.loads(noted.read_text().splitlines()[-1])
    written = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert (path, found) == (str(folder), written)
    assert written
    assert all(written.values())


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "below" / "target"
    with files.whole(target) as part:
        part.mkdir()
        (part / "old").touch()
        assert not target.exists()
    with pytest.raises(OSError, match="on purpose"), files.whole(target) as part:  # noqa: PT012 - after a first file
        part.mkdir()
        raise OSError("on purpose")
    assert list(target.parent.rglob("*")) == [target, target / "old"]
    with files.whole(target) as part:
        part.write_text("what a kill leaves")
        part.rename(tmp_path / "left")
        target.rename(tmp_path / "before")
        part.write_text("new")
    (tmp_path / "left").rename(part)
    with files.whole(target) as part:
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
    with files.whole(tmp_path / "file") as part:
        part.write_text("content")
    with files.whole(tmp_path / "folder") as part:
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
    with pytest.raises(OSError, match="No space left"), files.whole(tmp_path / "file") as part:
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
    with files.whole(folder / "a") as part:
        part.mkdir()
        (part / "x").write_text("mine")
    with files.whole(folder / "b") as part:
        part.write_text("mine")
    assert [(folder / name).read_text() for name in ("a/x", "b")] == ["mine", "mine"]
    assert (tmp_path / "elsewhere/x").read_text() == "another's"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_the_longest_names_become_whole(tmp_path: Path) -> None:
    for name in ("ü" * 127, "x" * 255, f"{'x' * 254}y"):
        with files.whole(tmp_path / name) as part:
            part.write_text(name)
    assert {path.name for path in tmp_path.iterdir()} == {path.read_text() for path in tmp_path.iterdir()}
