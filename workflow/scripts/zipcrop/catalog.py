"""The catalog: which archives there are, and what they are called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from zipcrop import source
from zipcrop.errors import CatalogError, MachineError
from zipcrop.source import LocalZip, Source

# Results are called after the archive, with a longer suffix; no file system takes more than 255.
_LONGEST_NAME = 250


def find_archives(raw_zips: str) -> dict[str, Source]:
    """The archives below `raw_zips`, a folder or the URL of one in an object store, by their ids in natural order.

    An id is the path below `raw_zips` without `.zip`, with `/`. Subfolders and links are followed. Raises CatalogError
    where there is no folder or no archive, where two archives would share a folder for their results, or where
    Snakemake cannot carry a name; MachineError where a folder or the store cannot be read. A folder called like an
    archive is a folder.
    """
    if "://" in raw_zips and not source.is_url(raw_zips):
        raise CatalogError(
            f"raw_zips is {raw_zips!r}, but must be a folder or s3://bucket/folder; for another store that speaks S3, "
            "AWS_ENDPOINT_URL says where it is"
        )
    archives: dict[str, Source] = {}
    for relative, found in _in_store(raw_zips) if source.is_url(raw_zips) else _in_folder(Path(raw_zips)):
        archive = relative[: -len(".zip")]
        _check_name(relative, archive, raw_zips)
        if archive in archives:
            raise CatalogError(
                f"{archives[archive].place} and {found.place} have the same name but for the letter case of .zip; "
                "rename one"
            )
        archives[archive] = found
    if not archives:
        raise CatalogError(f"there is no ZIP archive in {raw_zips}; put some there, or set raw_zips to where they are")
    _check_nesting({archive: found.place for archive, found in archives.items()})
    return {archive: archives[archive] for archive in sorted(archives, key=_natural)}


def _in_store(url: str) -> Iterator[tuple[str, Source]]:
    from zipcrop import object_store  # which takes long to import

    yield from object_store.find_zips(url)


def _in_folder(root: Path) -> Iterator[tuple[str, Source]]:
    if not root.is_dir():
        raise CatalogError(f"there is no folder {root}; make it and put ZIP archives into it, or set raw_zips")
    for path in _zip_files(root):
        yield path.relative_to(root).as_posix(), LocalZip(str(path))


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


def _check_name(relative: str, archive: str, root: str) -> None:
    try:
        relative.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(relative).decode(errors="backslashreplace")
        raise CatalogError(f"the name of archive {shown} in {root} is not UTF-8; rename it") from None
    if re.search(r"[{}\x00-\x1f]", relative):
        raise CatalogError(f"archive {relative!r} in {root} has a brace or control character in its name; rename it")
    if variable := re.search(r"<[a-z][a-z0-9_]*>", relative):
        raise CatalogError(
            f"archive {relative!r} in {root} has {variable[0]} in its name, which Snakemake takes for a variable;"
            " rename it"
        )
    if any(len(part.encode()) > _LONGEST_NAME for part in relative.split("/")):
        raise CatalogError(f"archive {relative!r} in {root} has more than {_LONGEST_NAME} bytes in its name; rename it")
    if archive.count(archive[-1:]) >= 20 and re.search(r"(.+)\1{19}$", archive):  # counting takes less time
        raise CatalogError(
            f"archive {relative!r} in {root} has a name that ends in the same 20 times over, which Snakemake takes for "
            "an endless loop; rename it"
        )
    if archive == "" or archive.endswith("/"):
        raise CatalogError(f"archive {relative!r} in {root} has no name before .zip; rename it")
    if not {"", ".", ".."}.isdisjoint(relative.split("/")):  # in a store, which knows no folders
        raise CatalogError(f"archive {relative!r} in {root} has no name that a folder could have; rename it")


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
