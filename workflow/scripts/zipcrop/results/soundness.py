"""Whether an archive's results are there, as far as can be told without reading them."""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zipcrop import files
from zipcrop.errors import MachineError
from zipcrop.results import layout, manifest

_MOST_FOLDERS = 100
"""A record has the times of that many folders at most. Archives with more are looked through file by file."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_Folder = tuple[str, list[str], int]
"""A folder's path below the output folder, with `/` at its end; the names of its files; and their bytes in all."""


@functools.cache
def boot() -> str:
    """An identifier that changes with each start of the system; empty where it is not known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        pass
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # macOS
        asked = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=10)
        return asked.stdout.strip()
    return ""


def describe(root: Path, archive: str, table: Path, contents: dict[str, manifest.Content]) -> dict[str, Any]:
    """What a record says of results: the number and bytes of their files, whose paths below the output folder are the
    keys of `contents`; the bytes of the manifest, `table`; and the time at which each of the folders, which lie below
    `root`, last got or lost a file."""
    return {
        "files": len(contents),
        "bytes": sum(content.size for content in contents.values()),
        "listing": _listing(_by_folder((file, content.size) for file, content in contents.items())),
        "manifest_bytes": table.stat().st_size,
        "folders": folder_times(root, archive),
        "boot": boot(),
    }


def folder_times(root: Path, archive: str) -> dict[str, int] | None:
    """The time (ns) at which each folder with results of `archive` below `root` last got or lost a file; None if there
    are too many folders for a record. Raises OSError."""
    times: dict[str, int] = {}
    for folder in layout.FOLDERS:
        for parent, _, _ in os.walk(root / folder / archive):
            times[Path(parent).relative_to(root).as_posix()] = Path(parent).stat().st_mtime_ns
            if len(times) > _MOST_FOLDERS:
                return None
    return times


def are_as_they_were(output: Path, times: Mapping[str, int] | None) -> bool:
    """Whether no folder of `times`, as `folder_times` gave them, has got or lost a file since. Raises OSError."""
    return times is not None and all((output / folder).stat().st_mtime_ns == time for folder, time in times.items())


def problem(output: Path, archive: str, said: Any, sizes: bool) -> str:
    """What is wrong with the results of `archive` below the folder `output`, in words; empty if nothing is.

    `said` is what `describe` gave for the record (None in records of older versions). Looks at the files' `sizes`, or
    only at whether folders have changed since."""
    try:
        if wrong := _problem_of_manifest(layout.manifest(output, archive), said):
            return wrong
        if said is None:
            return "" if layout.results(output, "Person", archive).is_dir() else "its crops are gone"
        if not layout.digests(output, archive).is_file():
            return "its list of digests is gone"
        if not sizes and are_as_they_were(output, said["folders"]):
            return ""
        return _problem_of_files(output, archive, said)
    except (OSError, MachineError, LookupError, TypeError, ValueError, AttributeError, csv.Error):
        return "its results cannot be looked at"


def _problem_of_manifest(path: Path, said: Any) -> str:
    with files.open_regular(path, "r") as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        if said is not None and size != said["manifest_bytes"]:
            return "its manifest is not as it was written"
        begin, end = os.pread(descriptor, len(manifest.HEADER), 0), os.pread(descriptor, 2, size - 2)
        if begin != manifest.HEADER or end != b"\r\n":
            return "its manifest is damaged"
    return ""


def _problem_of_files(output: Path, archive: str, said: Any) -> str:
    found = list(_folders(output, archive))
    if _listing(found) == said["listing"]:
        return ""
    # Somebody may have put more there, which is no reason to do anything again.
    wanted = set(map(layout.normal, manifest.named_files(output, archive)))
    there = [f"{folder}{name}" for folder, names, _ in found for name in names]
    ours = ((file, (output / file).lstat().st_size) for file in there if layout.normal(file) in wanted)
    return "" if _listing(_by_folder(ours)) == said["listing"] else "some of its files are gone or cut off"


def _by_folder(found: Iterable[tuple[str, int]]) -> Iterator[_Folder]:
    """The folders of the files `found` (path and bytes), as `_folders` gives them."""
    names: dict[str, list[str]] = {}
    total: Counter[str] = Counter()
    for path, size in found:
        folder, slash, name = path.rpartition("/")
        if not layout.is_foreign(name):  # a member may be called like one
            names.setdefault(folder + slash, []).append(name)
            total[folder + slash] += size
    return ((folder, inside, total[folder]) for folder, inside in names.items())


def _listing(folders: Iterable[_Folder]) -> list[int]:
    """Two numbers that tell those folders, the names in them and the bytes of their files from others, independent of
    their order."""
    names_sum = total = 0
    for folder, names, size in folders:
        if names:
            listed = layout.normal("\0".join([folder, *sorted(map(layout.normal, names))]))
            names_sum += zlib.crc32(listed.encode(errors="surrogateescape"))
            total += size
    return [names_sum, total]


def _folders(output: Path, archive: str) -> Iterator[_Folder]:
    """The folders of the archive's results below the folder `output`, with their regular files. Those that systems
    leave there unasked do not count."""
    for folder in layout.FOLDERS:
        layout.results(output, folder, archive)  # no link
        left = [f"{folder}/{archive}/"]
        while left:
            inside = left.pop()
            names = []
            total = 0
            with os.scandir(output / inside) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        name = entry.name
                        if name[0] not in "._TtDd" or not layout.is_foreign(name):
                            names.append(name)
                            total += entry.stat(follow_symlinks=False).st_size
                    elif entry.is_dir(follow_symlinks=False):
                        left.append(f"{inside}{entry.name}/")
            yield inside, names, total
