"""The layout of the output folder: what lies where in it, and what only seems to.

Manifests may have been written, and links put in the way, by others: nothing outside is written, deleted, uploaded or
shown.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from zipcrop.errors import MachineError

FOLDERS = ("Person", "No_Person")
"""Folders of results that are called after archives."""
_NO_SUCH_PATH = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)


def inside(root: Path, *parts: str) -> Path:
    """`root` joined with `parts`, which may hold `/`.

    Raises MachineError where that would not lie below `root`, be it for `..`, for an absolute path, or for a link on
    the way or at its end.
    """
    path = root.joinpath(*parts)
    relative = path.relative_to(root) if path.is_relative_to(root) and "\0" not in str(path) else Path()
    if relative == Path() or ".." in relative.parts or _real(path) != _real(root) / relative:
        raise MachineError(
            f"{path} leads out of {root}, by its name or by a link; see what has put it there, remove it, and run again"
        )
    return path


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links go round in circles


def check(output: Path) -> None:
    """Raises MachineError where a link leads from one of the folders that are made below `output` to elsewhere."""
    folders = ("summary", "summary/plots", "summary/sheets", "summary/pages", "summary/yolo")
    for folder in (*FOLDERS, "manifests", ".staging", ".uploaded", *folders):
        inside(output, folder)


def results(output: Path, folder: str, archive: str) -> Path:
    """The folder below `folder`, one of FOLDERS, with the results of `archive`."""
    return inside(output, folder, archive)


def manifest(output: Path, archive: str) -> Path:
    """The manifest of `archive`. Where there is one, all results are."""
    return inside(output, "manifests", f"{archive}.csv")


def record(output: Path, archive: str) -> Path:
    """The record of the job of `archive`, beside its manifest."""
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


def regular(root: Path, *parts: str) -> Path:
    """As `inside`, of a file. Raises MachineError if it is none, or a link; OSError if there is nothing."""
    path = inside(root, *parts)
    if not stat.S_ISREG(path.lstat().st_mode):
        raise MachineError(f"{path} is no regular file; see what has put it there, remove it, and run again")
    return path


def is_own(output: Path, archive: str, file: str) -> bool:
    """Whether `file`, a path below the folder `output`, is a regular file of the results of `archive`, or would be if
    there were one. Raises OSError."""
    folder = next((each for each in FOLDERS if file.startswith(f"{each}/{archive}/")), None)
    if folder is None or not has_own_folder(output, folder, archive):
        return False
    try:
        regular(output / folder / archive, file.removeprefix(f"{folder}/{archive}/"))
    except MachineError:
        return False
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in _NO_SUCH_PATH:
            return False
        raise
    return True


def has_own_folder(output: Path, folder: str, archive: str) -> bool:
    """Whether no link below the folder `output` leads to what `folder` has of `archive`, rather than its name alone."""
    return _real(output / folder / archive) == _real(output) / folder / archive


def own_and_others(output: Path, archive: str, files: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of `files` of which `is_own` is true, and those of which it is not."""
    sorted_out: tuple[list[str], list[str]] = ([], [])
    for file in files:
        sorted_out[not is_own(output, archive, file)].append(file)
    return sorted_out


def left_alone(archive: str, others: list[str], most: int = 3) -> str:
    """The sentence for the files that the manifest of `archive` names and `own_and_others` has sorted out."""
    shown = ", ".join(map(repr, others[:most])) + (", …" if len(others) > most else "")
    return f"the manifest of {archive} names what is no file of its results; it is left alone: {shown}"


def files_below(folder: Path) -> dict[str, bool]:
    """Everything below `folder` that is no folder itself, as paths with `/`, and whether it is a regular file. Links
    in it are not followed, and where there is no folder, nothing is below it. Raises OSError."""
    found: dict[str, bool] = {}
    todo = [(str(folder), "")]
    while todo:
        place, prefix = todo.pop()
        try:
            entries = os.scandir(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    found[prefix + entry.name] = entry.is_file(follow_symlinks=False)
    return found
