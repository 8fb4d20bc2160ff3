"""The catalog: which archives there are, what they are called, and a fingerprint of each one's content."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from zipcrop.archive import ArchiveError, open_file
from zipcrop.directory import LONGEST_TAIL, locate, read_at
from zipcrop.errors import CatalogError, MachineError

# Results are called after the archive, with a longer suffix; no file system takes more than 255.
_LONGEST_NAME = 250
_BLOCK = 1 << 20


def find_archives(raw_zips: str | Path) -> dict[str, str]:
    """The archives below the folder `raw_zips`, subfolders and links included: id to path, in natural order of the ids.

    An id is the path below `raw_zips` without `.zip`, with `/`. Raises CatalogError where there is no folder or no
    archive, where two archives would share a folder for their results, or where Snakemake cannot carry a name;
    MachineError where a folder cannot be read. A folder called like an archive is a folder.
    """
    root = Path(raw_zips)
    if not root.is_dir():
        raise CatalogError(f"there is no folder {root}; make it and put ZIP archives into it, or set raw_zips")
    archives: dict[str, str] = {}
    for path in _zip_files(root):
        relative = path.relative_to(root).as_posix()
        archive = relative[: -len(".zip")]
        _check_name(relative, archive, root)
        if archive in archives:
            raise CatalogError(
                f"{archives[archive]} and {path} have the same name but for the letter case of .zip; rename one"
            )
        archives[archive] = str(path)
    if not archives:
        raise CatalogError(f"there is no ZIP archive in {root}; put some there, or set raw_zips to where they are")
    _check_nesting(archives)
    return {archive: archives[archive] for archive in sorted(archives, key=_natural)}


def _zip_files(root: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:  # by default, the archives of an unreadable folder would just not be there
        raise MachineError.from_os_error(error, f"searching {root} for archives") from None

    seen = set()
    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (Path(folder, file) for file in files if file.lower().endswith(".zip"))


def _check_name(relative: str, archive: str, root: Path) -> None:
    try:
        relative.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(relative).decode(errors="backslashreplace")
        raise CatalogError(f"the name of archive {shown} in {root} is not UTF-8; rename it") from None
    if re.search(r"[{}\x00-\x1f]", relative):
        raise CatalogError(f"archive {relative!r} in {root} has a brace or control character in its name; rename it")
    if any(len(part.encode()) > _LONGEST_NAME for part in relative.split("/")):
        raise CatalogError(f"archive {relative!r} in {root} has more than {_LONGEST_NAME} bytes in its name; rename it")
    if archive == "" or archive.endswith("/"):
        raise CatalogError(f"archive {relative!r} in {root} has no name before .zip; rename it")


def _check_nesting(archives: dict[str, str]) -> None:
    # An archive's results take one folder and three files called after it.
    taken = {
        f"{archive}{suffix}": path for archive, path in archives.items() for suffix in ("", ".csv", ".json", ".log")
    }
    for archive, path in archives.items():
        parts = archive.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in taken:
                raise CatalogError(
                    f"the results of {path} would lie inside those of {taken[folder]}; rename one, or move the archive "
                    "out of the folder that is called like the other"
                )


def _natural(archive: str) -> list[tuple[int, int, str]]:
    """Sorts images(2) before images(10)."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", archive) if part]


def fingerprint(path: str) -> str:
    """A hash of the archive's central directory: names, sizes, CRCs and places of all members, read raw.

    It changes with the content and with nothing else, whatever the times of the file. A file without a readable central
    directory is known by its size, beginning and end instead. Never raises: what cannot be read is `unreadable`, and
    the job that has to read it says why.
    """
    try:
        with open_file(path) as file:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            digest = hashlib.sha256(f"{size}:".encode())
            try:
                place = locate(descriptor)
            except ArchiveError:
                end = min(size, LONGEST_TAIL)
                digest.update(read_at(descriptor, end, 0) + read_at(descriptor, end, size - end))
                return f"broken-{digest.hexdigest()[:32]}"
            for start in range(place.start, place.start + place.length, _BLOCK):
                digest.update(read_at(descriptor, min(_BLOCK, place.start + place.length - start), start))
            return digest.hexdigest()[:32]
    except (OSError, ArchiveError):
        return "unreadable"
