"""The names of results: members' names made safe and unique, and how crops are called."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from zipcrop.filenames import digest, folder_keys, safe_component, suffix_of, unique
from zipcrop.image.formats import SUFFIXES

_MAX_PATH_BYTES = 1024
_SEPARATORS = re.compile(r"[/\\]")


@dataclass(frozen=True, slots=True)  # there are as many as members
class OutputName:
    """What a member's results are called below its archive's folder; relative, with `/`."""

    original: str
    """Under No_Person: the member's own name, made safe."""
    stem: str
    """Under Person, the crops' names begin with it: the same without its suffix."""

    def crop(self, person: int, suffix: str) -> str:
        """The file of crop number `person`; `suffix` is without a dot."""
        return f"{self.stem}_{person}.{suffix}"


def stem_of_crop(name: str) -> str:
    """The stem of the member whose crop is called `name` (see `OutputName.crop`)."""
    return name.rpartition("_")[0]


def safe_suffix(member: str) -> str:
    """The suffix that a member keeps in its original's name, with its dot; empty if it has none."""
    return _safe_path(member)[1]


def output_names(members: Sequence[str]) -> list[OutputName]:
    """Safe names, one for each of `members` (names as the archive gives them, of what may be photos) in their order.
    No two of them meet in one file, whatever the letter case and Unicode normalisation of the file system.

    The first of several members with one name keeps it; the others get `~2`, `~3`, …
    """
    wished = [_safe_path(name) for name in members]
    # A folder never ends in an image's suffix (see _safe_folder), so only an original without one can meet a folder.
    originals = unique(wished, folder_keys(stem for stem, _ in wished))
    stems = unique(((stem, "") for stem, _ in wished), set())
    return [OutputName(original, stem) for original, stem in zip(originals, stems, strict=True)]


def _safe_path(name: str) -> tuple[str, str]:
    """`name` as a relative path that stays below its folder on every common system, split before its suffix.
    Backslashes separate folders, too."""
    parts = [part for part in _SEPARATORS.split(name) if part not in ("", ".", "..")] or ["unnamed"]
    folder = _safe_folder("/".join(parts[:-1]))
    base = safe_component(parts[-1], SUFFIXES)
    if len(folder.encode()) + len(base.encode()) >= _MAX_PATH_BYTES:
        folder = digest(f"{folder}/{base}")
    suffix = suffix_of(base)
    stem = base.removesuffix(suffix)
    return (f"{folder}/{stem}" if folder else stem), suffix


@functools.lru_cache(maxsize=1024)  # members come folder by folder
def _safe_folder(path: str) -> str:
    folders = [safe_component(part, SUFFIXES) for part in path.split("/") if part]
    return "/".join(f"{folder}_" if suffix_of(folder).lower() in SUFFIXES else folder for folder in folders)
