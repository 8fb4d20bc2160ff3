from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.project import ROOT
from zipcrop.process.orphan import ProcessId

# A parent with a child that ends with it; the child says its number once it is prepared.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=sys.stdout)
time.sleep(60)
"""
CHILD = """
import os, time
from zipcrop.process import orphan
orphan.{function}()
print(os.getpid(), flush=True)
{work}
"""
WORK = {"end_with_parent": "time.sleep(60)", "die_with_parent": "import re; re.match('(a*)*b', 'a' * 60)"}


@pytest.mark.parametrize("function", WORK)
def test_a_child_does_not_outlive_its_parent(function: str) -> None:
    """`die_with_parent` even if it holds Python's lock for ever, as that regular expression does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    code = CHILD.format(function=function, work=WORK[function])
    command = [sys.executable, "-c", PARENT, code]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(1.5)
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
        child.wait(timeout=10)


LOSES_ITS_PARENT = """
import multiprocessing, os, pathlib, sys, time
from zipcrop.process import orphan

def work(begun, survived):
    pathlib.Path(begun).write_text(str(os.getpid()))
    while os.getppid() == multiprocessing.parent_process().pid:
        time.sleep(0.01)
    orphan.die_with_parent()
    pathlib.Path(survived).touch()

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work, args=sys.argv[1:]).start()
    time.sleep(60)
"""


def test_a_child_that_has_lost_its_parent_already_ends(tmp_path: Path) -> None:
    script, begun, survived = (tmp_path / name for name in ("job.py", "begun", "survived"))
    script.write_text(LOSES_ITS_PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    with subprocess.Popen([sys.executable, script, begun, survived], env=environment) as parent:
        while not begun.exists() or not begun.read_text():
            time.sleep(0.05)
        child = psutil.Process(int(begun.read_text()))
        parent.kill()
    child.wait(timeout=10)
    assert not survived.exists()


def test_a_process_that_is_ending_is_there_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ProcessId.of(os.getpid())
    assert own is not None
    assert own.is_alive()
    before, name, after = Path("/proc/self/stat").read_text().rpartition(")")
    fields = after.split()
    fields[6] = str(int(fields[6]) | 4)  # PF_EXITING
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"{before}{name} {' '.join(fields)}")
    assert not own.is_alive()
