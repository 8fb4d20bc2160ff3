"""The benchmarks' measuring of a command and its descendants."""

from __future__ import annotations

import subprocess
import sys

import pytest

import process_tree

CHILD = "import time; block = bytearray(120_000_000)\nwhile time.process_time() < 0.5: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}]); print('done')"


def test_descendants_count() -> None:
    usage = process_tree.run([sys.executable, "-c", PARENT])
    assert usage.output == "done\n"
    assert 120e6 < usage.peak_bytes < 400e6
    assert 0.5 <= usage.cpu_seconds < 2 * usage.seconds  # one works while the other waits
    assert usage.seconds >= 0.5


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        process_tree.run([sys.executable, "-c", "raise SystemExit(3)"])
