from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from helpers.project import ROOT
from zipcrop.process import memory

# Threads that take turns hold a few photos of 10 megapixels and free them, again and again. Then it says how many pages
# the kernel had to fill, once the first thread was done.
CODE = """
import resource, threading
from zipcrop.process import memory
{call}

def hold_and_free():
    for _ in range(10):
        [bytearray(30_000_000) for _ in range(3)]

def run():
    thread = threading.Thread(target=hold_and_free)
    thread.start()
    thread.join()

run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str) -> int:
    """The page faults of a new process that does `call` first."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment = {**usual, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    command = [sys.executable, "-c", CODE.format(call=call)]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_the_next_photo_takes_the_memory_of_the_last_one() -> None:
    given_back = faults("")
    assert given_back > 1000  # even if the kernel has pages of 2 MiB
    assert faults("memory.keep_freed_memory()") < given_back / 20


class Library:
    """A C library whose functions are `names`. Its mallopt refuses values above `limit`."""

    def __init__(self, names: tuple[str, ...], limit: int = 1024**3) -> None:
        self.options: dict[int, int] = {}
        self._limit = limit
        for name in names:
            setattr(self, name, self._set)

    def _set(self, option: int, value: int) -> int:
        if option == -3 and value > self._limit:
            return 0
        self.options[option] = value
        return 1


@pytest.mark.parametrize("limit", [32 * 1024**2, 1024**3])
def test_a_threshold_that_is_refused_is_lowered(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(("gnu_get_libc_version", "mallopt"), limit)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", "linux")
    memory.keep_freed_memory()
    assert library.options == {-1: 1024**3, -3: min(limit, 192 * 1024**2), -8: 1}


@pytest.mark.parametrize("names", [(), ("mallopt",)], ids=["musl", "bionic"])
def test_other_c_libraries_stay_as_they_are(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(names)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", "linux")
    memory.keep_freed_memory()
    assert library.options == {}
