"""The catalog: the archives that there are, by id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from zipcrop.archive import source
from zipcrop.archive.ids import archive_ids, safe_archive_id
from zipcrop.archive.source import LocalZip, RefusedZip, Source
from zipcrop.errors import CatalogError, MachineError
from zipcrop.filenames import is_safe_character

# Results are called after the archive, with a longer suffix. No file system takes more than 255 bytes.
_LONGEST_NAME = 250


def find_archives(raw_zips: str) -> dict[str, Source]:
    """The archives below `raw_zips`, a folder or the URL of one in an object store, by their ids in natural order.

    An id is the path below `raw_zips` without `.zip`, with `/`. Where a file system may take several ids for one, since
    they differ in letter case or Unicode normalisation alone, the later ones get `~2`, `~3`, … An archive with a name
    that no folder could have, or that Snakemake cannot carry, is a `source.RefusedZip`, with an id made of the rest of
    its name. Subfolders and links are followed. A folder called like an archive is a folder.

    Raises CatalogError where there is no folder or no archive, or where the results of one archive would lie inside
    those of another; MachineError where a folder or the store cannot be read.
    """
    if "://" in raw_zips and not source.is_url(raw_zips):
        raise CatalogError(
            f"raw_zips is {raw_zips!r}, but must be a folder or s3://bucket/folder; for another store that speaks S3, "
            "AWS_ENDPOINT_URL says where it is"
        )
    found = dict(_in_store(raw_zips) if source.is_url(raw_zips) else _in_folder(Path(raw_zips)))
    if not found:
        raise CatalogError(f"there is no ZIP archive in {raw_zips}; put some there, or set raw_zips to where they are")
    # Good names come first, so that an id made up for a bad one does not take theirs.
    relatives = sorted(found, key=lambda relative: (_refusal(relative) != "", _natural(relative)))
    refusals = [_refusal(relative) for relative in relatives]
    wished = [
        _without_suffix(relative) if not refusal else safe_archive_id(_without_suffix(relative))
        for relative, refusal in zip(relatives, refusals, strict=True)
    ]
    # Before ids are numbered, which would hide the nesting.
    _check_nesting({each: found[relative].location for each, relative in zip(wished, relatives, strict=True)})
    archives: dict[str, Source] = {}
    for relative, refusal, archive in zip(relatives, refusals, archive_ids(wished), strict=True):
        at = found[relative]
        archives[archive] = RefusedZip(_shown(at.location), refusal) if refusal else at
    return {archive: archives[archive] for archive in sorted(archives, key=_natural)}


def _without_suffix(relative: str) -> str:
    return relative[: -len(".zip")]


def _in_store(url: str) -> Iterator[tuple[str, Source]]:
    from zipcrop.archive import store  # it takes long to import

    yield from store.find_zips(url)


def _in_folder(root: Path) -> Iterator[tuple[str, Source]]:
    if not root.is_dir():
        raise CatalogError(f"there is no folder {root}; make it and put ZIP archives into it, or set raw_zips")
    for path in _zip_files(root):
        yield path.relative_to(root).as_posix(), LocalZip(str(path))


def _zip_files(root: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:  # by default, os.walk would pass over a folder that it cannot read
        raise MachineError.from_os_error(error, f"searching {root} for archives") from None

    seen = set()
    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (Path(folder, file) for file in files if file.lower().endswith(".zip"))


def _refusal(relative: str) -> str:
    """The reason why the archive with that path below `raw_zips` is refused, in words; empty if it is not."""
    archive = _without_suffix(relative)
    parts = archive.split("/")
    if any(0xD800 <= ord(character) < 0xE000 for character in relative):
        return "has a name that is not UTF-8; rename it"
    if parts[-1] == "":
        return "has no name before .zip; rename it"
    if not {"", ".", ".."}.isdisjoint(parts):
        return "has a name that no folder could have; rename it"
    if re.search(r"[{}]", relative) or not all(map(is_safe_character, relative)):
        return "has a brace, or a control character that cannot be seen, in its name; rename it"
    if variable := re.search(r"<[a-z][a-z0-9_]*>", relative):
        return f"has {variable[0]} in its name, which Snakemake takes for a variable; rename it"
    if any(len(part.encode()) > _LONGEST_NAME for part in relative.split("/")):
        return f"has more than {_LONGEST_NAME} bytes in its name; rename it"
    if archive.count(archive[-1:]) >= 20 and re.search(r"(.+)\1{19}$", archive):  # counting takes less time
        return "has a name that ends in the same 20 times over, which Snakemake takes for an endless loop; rename it"
    return ""


def _shown(location: str) -> str:
    """`location` as a text that can be written anywhere."""
    readable = os.fsencode(location).decode(errors="backslashreplace")
    return "".join(each if is_safe_character(each) else ascii(each)[1:-1] for each in readable)


def _check_nesting(archives: dict[str, str]) -> None:
    # An archive's results take a folder and four files called after it.
    taken = {
        f"{archive}{suffix}": path
        for archive, path in archives.items()
        for suffix in ("", ".csv", ".json", ".sha256", ".log")
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
