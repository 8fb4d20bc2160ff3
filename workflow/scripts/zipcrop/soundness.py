"""Whether an archive's results are there, as far as can be told without reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zipcrop import files, layout, manifest
from zipcrop.errors import MachineError

_MOST_FOLDERS = 100
"""Whose times are in a record. Archives with more are looked through file by file."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BEGIN = (",".join(manifest.COLUMNS) + "\r\n").encode()
_SYSTEMS_OWN = frozenset((".DS_Store", "Thumbs.db", "desktop.ini", ".snakemake_timestamp"))
"""What file managers and Snakemake leave in folders that they look at."""


def boot() -> str:
    """What is another one after each start of the system; empty where it is not known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def is_foreign(name: str) -> bool:
    """Whether a file of that name is left by the system, and no result."""
    return name in _SYSTEMS_OWN or name.startswith("._")


def describe(root: Path, archive: str, table: Path, contents: dict[str, manifest.Content]) -> dict[str, Any]:
    """What a record says of results: the number and bytes of their files, whose paths below the output folder are the
    keys of `contents`; the bytes of the manifest, `table`; and when each of the folders, which lie below `root`, has
    last got or lost a file."""
    times = {}
    for folder in layout.FOLDERS:
        for parent, _, _ in os.walk(root / folder / archive):
            times[Path(parent).relative_to(root).as_posix()] = Path(parent).stat().st_mtime_ns
    return {
        "files": len(contents),
        "bytes": sum(content.size for content in contents.values()),
        "manifest_bytes": table.stat().st_size,
        "folders": times if len(times) <= _MOST_FOLDERS else None,
        "boot": boot(),
    }


def problem(output: Path, archive: str, said: Any, sizes: bool) -> str:
    """What is wrong with the results of `archive` below the folder `output`, of which the record has `said` what
    `describe` gave (None in records of older versions), in words; empty if nothing is. Looks at the files' `sizes`, or
    only at whether folders have changed since."""
    try:
        if wrong := _problem_of_manifest(layout.manifest(output, archive), said):
            return wrong
        if said is None:
            return "" if layout.results(output, "Person", archive).is_dir() else "its crops are gone"
        if not layout.digests(output, archive).is_file():
            return "its list of digests is gone"
        if not sizes and _folders_are_as_they_were(output, said["folders"]):
            return ""
        return _problem_of_files(output, archive, said)
    except (OSError, MachineError, KeyError, TypeError, ValueError):
        return "its results cannot be looked at"


def _problem_of_manifest(path: Path, said: Any) -> str:
    with files.open_regular(path, "r") as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        # Older ones have the same columns, in the same order, and may lack the last.
        if said is not None and size != said["manifest_bytes"]:
            return "its manifest is not as it was written"
        if os.pread(descriptor, len(_BEGIN), 0) != _BEGIN or os.pread(descriptor, 2, size - 2) != b"\r\n":
            return "its manifest is damaged"
    return ""


def _folders_are_as_they_were(output: Path, times: dict[str, int] | None) -> bool:
    return times is not None and all((output / folder).stat().st_mtime_ns == time for folder, time in times.items())


def _problem_of_files(output: Path, archive: str, said: Any) -> str:
    count = total = 0
    for size in _sizes(output, archive):
        if not size:
            return "some of its files are empty"
        count += 1
        total += size
    if (count, total) == (said["files"], said["bytes"]):
        return ""
    # Somebody may have put more there, which is no reason to do anything again.
    count = total = 0
    for row in manifest.read(output, archive):
        if row["file"]:
            count += 1
            total += layout.inside(output, row["file"]).lstat().st_size
    return "" if (count, total) == (said["files"], said["bytes"]) else "some of its files are gone or cut off"


def _sizes(output: Path, archive: str) -> Iterator[int]:
    """Of all files of the archive, but for those of the system."""
    folders = [layout.results(output, folder, archive) for folder in layout.FOLDERS]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif not is_foreign(entry.name):
                    yield entry.stat(follow_symlinks=False).st_size
