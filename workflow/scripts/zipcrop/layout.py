"""The layout of the output folder: where each thing lies. No path leads out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zipcrop.errors import MachineError

FOLDERS = ("Person", "No_Person")
"""Folders of results that are called after archives."""


def inside(root: Path, *parts: str) -> Path:
    """`root` joined with `parts`, which may hold `/`.

    Raises MachineError where that would not lie below `root`, be it for `..`, for an absolute path, or for a link on
    the way or at its end.
    """
    path = root.joinpath(*parts)
    real = root.resolve()
    relative = path.relative_to(root) if path.is_relative_to(root) else None
    if relative is None or relative == Path() or ".." in relative.parts or path.resolve() != real / relative:
        raise MachineError(f"{path} leads out of {root}, by its name or by a link; remove the link, and run again")
    return path


def results(output: Path, folder: str, archive: str) -> Path:
    """The folder below `folder`, one of FOLDERS, with the results of `archive`."""
    return inside(output, folder, archive)


def manifest(output: Path, archive: str) -> Path:
    """The manifest of `archive`."""
    return inside(output, "manifests", f"{archive}.csv")


def record(output: Path, archive: str) -> Path:
    """The record of the job of `archive`, beside its manifest. It is there if and only if all results are."""
    return inside(output, "manifests", f"{archive}.json")


def digests(output: Path, archive: str) -> Path:
    """The SHA-256 of all results of `archive`, as `sha256sum --check` takes them in the output folder."""
    return inside(output, "manifests", f"{archive}.sha256")


def staging(output: Path, archive: str) -> Path:
    """The folder in which the results of `archive` grow."""
    return inside(output, ".staging", archive)


def lock(output: Path) -> Path:
    """The lock of a run."""
    return inside(output, ".lock")


def uploaded(output: Path, archive: str) -> Path:
    """What says that the results of `archive` have been uploaded."""
    return inside(output, ".uploaded", f"{archive}.json")


def archives_with_manifests(output: Path) -> Iterator[str]:
    """The archives that have a manifest, sorted."""
    manifests = output / "manifests"
    found = (path for path in manifests.rglob("*.csv") if path.is_file())
    return iter(sorted(path.relative_to(manifests).as_posix()[: -len(".csv")] for path in found))
