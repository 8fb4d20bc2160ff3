"""The layout of the output folder: what lies where in it, and what only seems to.

Manifests may have been written, and links put in the way, by others: nothing outside is deleted, uploaded or shown.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from zipcrop.errors import MachineError
from zipcrop.staging import FOLDERS

_NO_SUCH_PATH = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)


def inside(root: Path, *parts: str) -> Path:
    """`root` joined with `parts`. Raises MachineError unless that lies below `root` when all links on the way to it are
    followed; if it is a link itself, that one is not."""
    path = root.joinpath(*parts)
    if "\0" not in str(path):
        real = _real(path) if path.name == ".." else _real(path.parent) / path.name
        if _real(root) in real.parents:
            return path
    raise MachineError(f"{path} leads out of {root}; see what has put it there, remove it, and run again")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links go round in circles


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
