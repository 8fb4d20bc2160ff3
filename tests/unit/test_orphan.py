from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support import ROOT

# A parent with a child that ends with it; the child says its number once it is prepared.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=sys.stdout)
time.sleep(60)
"""
CHILD = """
import os, time
from zipcrop import orphan
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
