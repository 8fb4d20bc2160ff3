from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from zipcrop.process.confinement import RefusedError, confined


@pytest.mark.parametrize(
    ("do", "tried"),
    [
        (lambda: socket.create_connection(("127.0.0.1", 9)), "use the network"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "use the network"),
        (lambda: socket.getaddrinfo("localhost", 80), "use the network"),
        (lambda: socket.gethostbyname("localhost"), "use the network"),
        pytest.param(
            lambda: socket.socketpair(),
            "use the network",
            # Python itself leaves one of the two sockets open when it may not wrap the other.
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
        (lambda: subprocess.run(["true"], check=True), "start a program"),
        (lambda: os.system("true"), "start a program"),
        (lambda: os.fork() or os._exit(0), "start a program"),
        (lambda: os.posix_spawn("/bin/true", ["true"], {}), "start a program"),
    ],
)
def test_the_network_and_other_processes_are_refused(do: Callable[[], object], tried: str) -> None:
    with confined() as noted:
        with pytest.raises(RefusedError):
            do()
        assert noted == []
    assert noted
    assert set(noted) == {tried}


def test_a_socket_that_was_there_before_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        with confined() as tried:
            for do in (lambda: here.connect(("127.0.0.1", 9)), lambda: here.sendto(b"a", ("127.0.0.1", 9))):
                with pytest.raises(RefusedError):
                    do()
        assert tried == ["use the network"] * 2


CHANGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b"a"),
    lambda path: path.open("a"),
    lambda path: path.open("r+"),
    lambda path: os.open(path, os.O_WRONLY),
    lambda path: os.open(bytes(path), os.O_RDWR),
    lambda path: os.open(path.with_name("new"), os.O_CREAT),
    lambda path: path.unlink(),
    lambda path: path.rename(path.with_name("new")),
    lambda path: path.replace(path.parent / "folder" / "new"),
    lambda path: (path.parent / "folder" / "mine").replace(path),
    lambda path: path.with_name("new").mkdir(),
    lambda path: path.with_name("empty").rmdir(),
    lambda path: path.with_name("new").symlink_to(path),
    lambda path: path.with_name("new").hardlink_to(path),
    lambda path: path.chmod(0o600),
    lambda path: os.truncate(path, 0),
    lambda path: os.utime(path),
    lambda path: (path.parent / "folder" / ".." / path.name).write_bytes(b"a"),
    lambda path: (path.parent / "folder" / "link").write_bytes(b"a"),
    lambda path: shutil.rmtree(path.with_name("empty")),
    lambda path: sqlite3.connect(path.with_name("new")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_files_elsewhere_are_not_changed(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder, path = tmp_path / "folder", tmp_path / "precious"
    folder.mkdir()
    (tmp_path / "empty").mkdir()
    (folder / "mine").write_bytes(b"mine")
    (folder / "link").symlink_to(path)
    path.write_bytes(b"precious")
    before = sorted(tmp_path.rglob("*"))
    with confined(folder) as tried, pytest.raises(RefusedError):
        change(path)
    assert tried == []
    assert sorted(tmp_path.rglob("*")) == before
    assert path.read_bytes() == b"precious"


def test_its_own_folder_may_be_written_to_and_all_may_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "other").write_bytes(b"other")
    with confined(tmp_path / "link"):
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "c").write_bytes((tmp_path / "other").read_bytes())
        (folder / "a").rename(folder / "d")
        (folder / "d" / "b" / "c").unlink()
        Path(os.devnull).write_bytes(b"a")
        with pytest.raises(RefusedError), tempfile.TemporaryFile(dir=tmp_path):
            pass
    assert (folder / "d" / "b").is_dir()


def test_threads_cannot_be_started_and_others_are_left_alone(tmp_path: Path) -> None:
    results: list[object] = []
    ready, end = threading.Event(), threading.Event()

    def work() -> None:
        ready.wait()
        with socket.socket() as opened:
            results.append(opened.family)
        (tmp_path / "file").write_bytes(b"a")
        end.set()

    other = threading.Thread(target=work)
    other.start()
    with confined() as tried:
        ready.set()
        assert end.wait(60)
        for event in ("_thread.start_new_thread", "_thread.start_joinable_thread"):
            with pytest.raises(RefusedError):
                sys.audit(event, work)  # as Python does from 3.12 or 3.13 on
    other.join()
    assert results == [socket.AF_INET]
    assert (tmp_path / "file").exists()
    assert tried == []


def test_afterwards_all_is_as_it_was(tmp_path: Path) -> None:
    with confined() as outer:
        with confined(tmp_path) as inner:
            (tmp_path / "a").touch()
            with pytest.raises(RefusedError):
                socket.socket()
        with pytest.raises(RefusedError):
            (tmp_path / "b").touch()
    assert outer == inner == ["use the network"]
    socket.socket().close()
    (tmp_path / "b").touch()
