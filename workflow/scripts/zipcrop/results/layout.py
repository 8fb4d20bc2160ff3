"""The layout of the output folder: every path in it, spelled once, and whether a file there is a result at all.

Others may have written manifests and put links in the way: nothing outside the folder is written, deleted, uploaded or
shown.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from zipcrop.errors import MachineError

PERSON, NO_PERSON = FOLDERS = ("Person", "No_Person")
"""The folders of crops and of originals. In each, an archive has a folder of its own name."""
TIMESTAMP = ".snakemake_timestamp"
"""Snakemake leaves this file in every folder that is an output, as those of results once were."""
_MANIFESTS, _SUMMARY, _STAGING, _UPLOADED = "manifests", "summary", ".staging", ".uploaded"
_OF_SUMMARY = ("plots", "sheets", "pages", "yolo")
_LEFT_BY_SYSTEMS = frozenset((TIMESTAMP, ".ds_store", "thumbs.db", "desktop.ini"))
"""In lower case."""
_NO_SUCH_PATH = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)


def inside(root: Path, *parts: str) -> Path:
    """`root` joined with `parts`, which may hold `/`.

    Raises MachineError where the path would not lie below `root`: because of a `..`, as an absolute path, or because
    of a link on the way or at its end.
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
    for folder in (
        *FOLDERS,
        _MANIFESTS,
        _STAGING,
        _UPLOADED,
        _SUMMARY,
        *(f"{_SUMMARY}/{each}" for each in _OF_SUMMARY),
    ):
        inside(output, folder)


def results(output: Path, folder: str, archive: str) -> Path:
    """The folder below `folder`, one of FOLDERS, with the results of `archive`."""
    return inside(output, folder, archive)


def manifests(output: Path) -> Path:
    """The folder with the manifest, the record and the digests of every archive."""
    return output / _MANIFESTS


def manifest(output: Path, archive: str) -> Path:
    """The manifest of `archive`. Where it is, all its results are."""
    return inside(output, _MANIFESTS, f"{archive}.csv")


def record(output: Path, archive: str) -> Path:
    """The record of the job of `archive`, beside its manifest."""
    return inside(output, _MANIFESTS, f"{archive}.json")


def digests(output: Path, archive: str) -> Path:
    """The SHA-256 of all results of `archive`, as `sha256sum --check` takes them in the output folder."""
    return inside(output, _MANIFESTS, f"{archive}.sha256")


def staging_folder(output: Path) -> Path:
    """The folder in which the results of all archives grow."""
    return output / _STAGING


def staging(output: Path, archive: str) -> Path:
    """The folder in which the results of `archive` grow."""
    return inside(output, _STAGING, archive)


def lock(output: Path) -> Path:
    """The lock of a run. Whoever takes it replaces a link (see `lock.acquire`)."""
    return output / ".lock"


def looked(output: Path) -> Path:
    """The plan's note: since which start of the system it has looked at all sizes, and the times of folders that had
    changed by then since their results were published."""
    return output / ".looked"


def uploaded(output: Path, archive: str) -> Path:
    """The note that the results of `archive` have been uploaded."""
    return inside(output, _UPLOADED, f"{archive}.json")


def summary(output: Path) -> Path:
    """The table of all archives."""
    return output / f"{_SUMMARY}.csv"


def summary_folder(output: Path) -> Path:
    """The folder with what the report shows, and the exports."""
    return output / _SUMMARY


def coco(output: Path) -> Path:
    """The file of the COCO export."""
    return summary_folder(output) / "annotations.coco.json"


def yolo(output: Path) -> Path:
    """The folder of the YOLO export."""
    return summary_folder(output) / "yolo"


def relative(output: Path, path: Path) -> str:
    """`path`, which lies below the folder `output`, as digests and object stores name it: relative, with `/`."""
    return path.relative_to(output).as_posix()


def archives_with_manifests(output: Path) -> Iterator[str]:
    """The archives that have a manifest, sorted."""
    folder = manifests(output)
    found = (path for path in folder.rglob("*.csv") if path.is_file())
    return iter(sorted(relative(folder, path)[: -len(".csv")] for path in found))


def is_foreign(name: str) -> bool:
    """Whether a file of that name may be one that Snakemake, macOS or Windows leaves unasked."""
    return name.lower() in _LEFT_BY_SYSTEMS or name.startswith("._")


def normal(name: str) -> str:
    """`name` in the form in which names are compared: some file systems give them back in another normalisation."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def regular(root: Path, *parts: str) -> Path:
    """As `inside`, of a file. Raises MachineError if it is a link or no regular file, OSError if there is nothing."""
    path = inside(root, *parts)
    if not stat.S_ISREG(path.lstat().st_mode):
        raise MachineError(f"{path} is no regular file; see what has put it there, remove it, and run again")
    return path


def name_in(folder: str, archive: str, file: str) -> str:
    """`file`, a path below the output folder, as a path below what `folder`, one of FOLDERS, has of `archive`. Raises
    ValueError if it does not lie there by its name; links are not looked at."""
    name = file.removeprefix(f"{folder}/{archive}/")
    if name == file or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError(f"{file!r} is no file of {folder}/{archive}")
    return name


def is_own(output: Path, archive: str, file: str) -> bool:
    """Whether `file`, a path below the folder `output`, is a regular file of the results of `archive`, or would be if
    it were there. Raises OSError."""
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
    """Whether no link below the folder `output` stands in for the folder of `archive` in `folder`, or for one above."""
    return _real(output / folder / archive) == _real(output) / folder / archive


def own_and_others(output: Path, archive: str, files: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of `files` for which `is_own` holds, and the others."""
    sorted_out: tuple[list[str], list[str]] = ([], [])
    for file in files:
        sorted_out[not is_own(output, archive, file)].append(file)
    return sorted_out


def left_alone(archive: str, others: list[str], most: int = 3) -> str:
    """The sentence for the `others` among the files that the manifest of `archive` names (see `own_and_others`)."""
    shown = ", ".join(map(repr, others[:most])) + (", …" if len(others) > most else "")
    return f"the manifest of {archive} names what is no file of its results; it is left alone: {shown}"


def files_below(folder: Path) -> dict[str, bool]:
    """Everything below `folder` except folders, as paths with `/`, and whether it is a regular file. Links are not
    followed; where there is no folder, nothing is below it. Raises OSError."""
    found: dict[str, bool] = {}
    todo = [(str(folder), "")]
    while todo:
        path, prefix = todo.pop()
        try:
            entries = os.scandir(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    found[prefix + entry.name] = entry.is_file(follow_symlinks=False)
    return found


def results_below(folder: Path) -> list[str]:
    """The regular files below `folder`, as paths with `/`, except those that systems leave there unasked."""
    found = files_below(folder).items()
    return [name for name, is_file in found if is_file and not is_foreign(name.rpartition("/")[2])]
