"""Uploads: copies of the results in an object store, laid out as in the output folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from zipcrop.archive import store
from zipcrop.results import layout, prune, tables
from zipcrop.results.layout import FOLDERS

_THREADS = 16
"""Most of the time they wait for the network."""


class Uploaded(NamedTuple):
    """What an upload did."""

    files: int
    """The number of files that were put."""
    others: list[str]
    """Files that the manifest names and that are no results of the archive; they are left alone."""


def archive(output: Path, name: str, url: str) -> Uploaded:
    """Puts the results of the archive `name` in the folder `output` below `url`; deletes there what earlier results
    have left. The old manifest goes first and the new one comes last: where a manifest is, all its files are.

    Raises ResultsError if the manifest cannot be read, MachineError, OSError.
    """
    named = [file for file in tables.read(output, name)["file"] if file]
    files, others = layout.own_and_others(output, name, named)
    ends = _manifest_files(name)
    store.delete(url, ends)
    _put(output, files, url)
    for folder in FOLDERS:
        _delete_others(f"{url}/{folder}/{name}", _below(f"{folder}/{name}/", files))
    # Older versions kept no digests.
    there = [file for file in ends if (output / file).exists()]
    for file in there:
        _upload(output, file, url)
    return Uploaded(len(files) + len(there), others)


def summaries(output: Path, url: str) -> int:
    """Puts `summary.csv` and the folder `summary` of the folder `output` below `url`; deletes there what is left of
    earlier ones. Returns the number of files. Raises MachineError, OSError."""
    folder = layout.summary_folder(output)
    found = layout.results_below(folder)
    prefix = layout.relative(output, folder)
    files = [*(f"{prefix}/{name}" for name in found), layout.relative(output, layout.summary(output))]
    _put(output, files, url)
    _delete_others(f"{url}/{prefix}", set(found))
    return len(files)


def remove(output: Path, name: str, live: Iterable[str], url: str) -> None:
    """Deletes below `url` what `archive` has put there for `name`, except files of the archives `live`; the manifest
    first. Raises as `prune.own_files` does."""
    files, _ = prune.own_files(output, name, live)
    store.delete(url, _manifest_files(name))
    store.delete(url, files)


def _manifest_files(name: str) -> list[str]:
    """The manifest comes last: where it is, all is."""
    return [path(Path(), name).as_posix() for path in (layout.digests, layout.record, layout.manifest)]


def _put(output: Path, files: Collection[str], url: str) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda file: _upload(output, file, url), files):
            pass


def _upload(output: Path, file: str, url: str) -> None:
    store.upload(layout.regular(output, file), f"{url}/{file}")


def _below(prefix: str, files: Iterable[str]) -> set[str]:
    return {file.removeprefix(prefix) for file in files if file.startswith(prefix)}


def _delete_others(url: str, wanted: set[str]) -> None:
    store.delete(url, [name for name in store.names(url) if name not in wanted])
