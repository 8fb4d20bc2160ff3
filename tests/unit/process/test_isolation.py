from __future__ import annotations

import functools
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from isolated_work import end_at_once, environment, nothing, work

from helpers.project import ROOT
from zipcrop.errors import MachineError
from zipcrop.image import opencv
from zipcrop.process import isolation
from zipcrop.process.isolation import Isolation


def test_each_has_its_result_in_order_and_from_other_processes() -> None:
    with Isolation(2, 60, nothing) as isolated:
        results = list(isolated.map(work, map(str, range(50))))
    assert [result.split()[0] for result in results if result] == list(map(str, range(50)))
    assert str(os.getpid()) not in {result.split()[2] for result in results if result}


@pytest.mark.parametrize("processes", [1, 2])
def test_what_crashes_hangs_or_needs_too_much_memory_costs_itself_alone(processes: int) -> None:
    wanted = ["a", "crash", "b", "hang", "memory", "c", "exit", "crash", "d"]
    with Isolation(processes, 3, nothing) as isolated:
        results = list(isolated.map(work, wanted))
    assert [result and result.split()[0] for result in results] == ["a", None, "b", None, None, "c", None, None, "d"]
    assert multiprocessing.active_children() == []


def test_a_bug_is_not_hidden_and_leaves_no_process() -> None:
    with pytest.raises(KeyError), Isolation(1, 60, nothing) as isolated:
        list(isolated.map(work, ["a", "bug", "hang"]))
    assert multiprocessing.active_children() == []


def test_nothing_to_do_starts_nothing() -> None:
    with Isolation(2, 60, nothing) as isolated:
        assert list(isolated.map(work, [])) == []
        assert multiprocessing.active_children() == []
        isolated.start()
        assert len(multiprocessing.active_children()) == 2


def test_few_are_under_way_at_once() -> None:
    asked: list[int] = []

    def endless() -> Iterator[str]:
        while True:
            asked.append(len(asked))
            yield "a"

    with Isolation(2, 60, nothing) as isolated:
        results = isolated.map(work, endless())
        for count in range(1, 20):
            next(results)
            assert len(asked) <= count + isolation._AHEAD * 2


def test_a_process_that_is_killed_while_it_waits_costs_nothing() -> None:
    with Isolation(1, 60, nothing) as isolated:
        assert None not in list(isolated.map(work, ["a", "b"]))
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join()
        assert None not in list(isolated.map(work, ["c"] * 20))


def test_processes_that_cannot_start_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_begin", end_at_once)
    with (
        Isolation(1, 60, nothing) as isolated,
        pytest.raises(MachineError, match="processes that decode photos cannot be"),
    ):
        list(isolated.map(work, ["a"] * 3))


def test_opencv_has_the_limit_too() -> None:
    with Isolation(1, 60, functools.partial(opencv.prepare, 0.5)) as isolated:
        assert list(isolated.map(environment, ["OPENCV_IO_MAX_IMAGE_PIXELS"])) == ["500000"]


LOSES_ITS_PARENT = """
import sys, time
from zipcrop.process.isolation import Isolation

def work(path):
    import os, re, pathlib
    pathlib.Path(path).write_text(str(os.getpid()))
    re.match("(a*)*b", "a" * 60)

def nothing():
    pass

if __name__ == "__main__":
    with Isolation(1, 600, nothing) as isolated:
        list(isolated.map(work, sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process that hangs outlives its parent")
def test_a_process_that_hangs_dies_with_its_parent(tmp_path: Path) -> None:
    script, begun = tmp_path / "job.py", tmp_path / "begun"
    script.write_text(LOSES_ITS_PARENT)
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    with subprocess.Popen([sys.executable, script, begun], env=variables) as parent:
        while not begun.exists() or not begun.read_text():
            time.sleep(0.05)
        child = psutil.Process(int(begun.read_text()))
        parent.kill()
    child.wait(timeout=10)
