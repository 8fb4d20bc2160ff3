"""Files that tests make, damage and read."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_zip(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Writes an archive of `members`, names and contents; the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return path


def flip(path: Path, size: int = 4096) -> None:
    """Flips bits in the middle of a file, which keeps its size and its times, as on a failing disk."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + size] = bytes(byte ^ 0xFF for byte in data[middle : middle + size])
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def read_csv(path: Path) -> list[dict[str, str]]:
    """Reads a table that the product wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def open_files(pid: int | str = "self") -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
