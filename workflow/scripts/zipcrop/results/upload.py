"""Uploads: copies of the results in an object store, laid out as in the output folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from zipcrop.archive import store
from zipcrop.results import layout, manifest, prune, summary
from zipcrop.results.layout import FOLDERS

_THREADS = 16
"""They wait for the network most of the time."""


class Uploaded(NamedTuple):
    """What has become of an upload."""

    files: int
    """How many there are."""
    others: list[str]
    """What the manifest names and is no file of the archive's results; that is left alone."""


def archive(output: Path, name: str, url: str) -> Uploaded:
    """Puts the results of the archive `name` in the folder `output` below `url`; deletes there what earlier results
    have left. Their manifest goes first, and the new one comes last, so that whoever sees a manifest there sees all its
    files.

    Raises ResultsError if the manifest cannot be read, MachineError, OSError.
    """
    named = [file for file in summary.read_manifest(output, name)["file"] if file]
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
    earlier ones. Gives how many files there were. Raises MachineError, OSError."""
    found = [f"summary/{name}" for name in summary.results_below(output / "summary")]
    files = [*found, "summary.csv"]
    _put(output, files, url)
    _delete_others(f"{url}/summary", _below("summary/", found))
    return len(files)


def remove(output: Path, name: str, live: Iterable[str], url: str) -> None:
    """Deletes below `url` what `archive` has put there for `name`, but for files of the archives `live`; the manifest
    first. Raises as `prune.own_files` does."""
    files, _ = prune.own_files(output, name, live)
    store.delete(url, _manifest_files(name))
    store.delete(url, files)


def marker(output: Path, name: str) -> Path:
    """The file that says that an archive has been uploaded. Raises MachineError if links lead it elsewhere."""
    return layout.inside(output, ".uploaded", f"{name}.json")


def _manifest_files(name: str) -> list[str]:
    """The manifest comes last: where it is, all is."""
    return [path(Path(), name).as_posix() for path in (layout.digests, manifest.record_path, manifest.path)]


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
