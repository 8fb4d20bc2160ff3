"""Uploads: copies of the results in an object store, laid out as in the output folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zipcrop import manifest, object_store, summary
from zipcrop.layout import FOLDERS

_THREADS = 16
"""They wait for the network most of the time."""


def archive(output: Path, name: str, url: str) -> int:
    """Puts the results of the archive `name` in the folder `output` below `url`, the manifest last; deletes there what
    earlier results have left. Gives how many files there were. Raises MachineError.
    """
    files = [file for file in summary.read_manifest(output, name)["file"] if file]
    _put(output, files, url)
    for folder in FOLDERS:
        _delete_others(f"{url}/{folder}/{name}", _below(f"{folder}/{name}/", files))
    ends = _manifest_files(name)
    for file in ends:
        object_store.upload(output / file, f"{url}/{file}")
    return len(files) + len(ends)


def summaries(output: Path, url: str) -> int:
    """Puts `summary.csv` and the folder `summary` of the folder `output` below `url`; deletes there what is left of
    earlier ones. Gives how many files there were. Raises MachineError."""
    found = [path.relative_to(output).as_posix() for path in (output / "summary").rglob("*") if summary.is_result(path)]
    files = [*found, "summary.csv"]
    _put(output, files, url)
    _delete_others(f"{url}/summary", _below("summary/", found))
    return len(files)


def remove(output: Path, name: str, live: Iterable[str], url: str) -> None:
    """Deletes below `url` what `archive` has put there for `name`, but for files of the archives `live`. Raises
    MachineError."""
    object_store.delete(url, [*summary.own_files(output, name, live), *_manifest_files(name)])


def marker(output: Path, name: str) -> Path:
    """The file that says that an archive has been uploaded."""
    return output / ".uploaded" / f"{name}.json"


def _manifest_files(name: str) -> list[str]:
    """The manifest comes last: where it is, all is."""
    return [path(Path(), name).as_posix() for path in (manifest.record_path, manifest.path)]


def _put(output: Path, files: Collection[str], url: str) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda file: object_store.upload(output / file, f"{url}/{file}"), files):
            pass


def _below(prefix: str, files: Iterable[str]) -> set[str]:
    return {file.removeprefix(prefix) for file in files if file.startswith(prefix)}


def _delete_others(url: str, wanted: set[str]) -> None:
    object_store.delete(url, [name for name in object_store.names(url) if name not in wanted])
