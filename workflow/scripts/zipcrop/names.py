"""File names: members' names made safe and unique, and how crops are called."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from zipcrop.image import SUFFIXES

# 255 bytes is the limit of every common file system; the rest is left for "~2" and "_12.webp".
_MAX_COMPONENT_BYTES = 230
_MAX_PATH_BYTES = 1024
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)}
# Bidirectional controls make a name read as another one on screen.
_BIDI_CONTROLS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)  # there are as many as members
class OutputName:
    """Where a member's results go, below its archive's folder; relative, with `/`."""

    original: str
    """The member's own name, made safe: its place under No_Person."""
    stem: str
    """The same without its suffix: what its crops' names begin with, under Person."""

    def crop(self, person: int, suffix: str) -> str:
        """The file of crop number `person`; `suffix` is without a dot."""
        return f"{self.stem}_{person}.{suffix}"


def output_names(members: Sequence[str]) -> list[OutputName]:
    """Safe names, one for each of `members` (images' names as the archive gives them) in their order, no two of which
    meet in one file, whatever the letter case and Unicode normalisation of the file system.

    The first of several members with one name keeps it; the others get `~2`, `~3`, …
    """
    paths = [_safe_path(name) for name in members]
    # A folder never ends in an image's suffix (see _safe_path), so only an original without one can meet a folder.
    folders = {_key(parent) for path in paths for parent in path.parents}
    originals = _unique(((path.with_suffix(""), path.suffix) for path in paths), folders)
    stems = _unique(((path.with_suffix(""), "") for path in paths), set())
    return [OutputName(original, stem) for original, stem in zip(originals, stems, strict=True)]


def _unique(wished: Iterable[tuple[PurePosixPath, str]], reserved: set[str]) -> list[str]:
    """Each wished-for stem + suffix, numbered where it is taken already."""
    names = [(str(stem), suffix) for stem, suffix in wished]
    # A number must not take the name that another member has by nature.
    natural = {_key(stem + suffix) for stem, suffix in names}
    taken = set(reserved)
    last_number: dict[str, int] = {}
    result = []
    for stem, suffix in names:
        name = stem + suffix
        if _key(name) in taken:
            wish = _key(name)
            number = last_number.get(wish, 1)
            while _key(name) in taken or (number > 1 and _key(name) in natural):
                number += 1
                name = f"{stem}~{number}{suffix}"
            last_number[wish] = number
        taken.add(_key(name))
        result.append(name)
    return result


def _key(path: str | PurePosixPath) -> str:
    """Equal for names that a file system may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def _safe_path(name: str) -> PurePosixPath:
    """`name` as a relative path that stays below its folder on every common system; backslashes separate, too."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    *folders, base = [_safe_component(part) for part in parts] or ["unnamed"]
    folders = [f"{folder}_" if PurePosixPath(folder).suffix.lower() in SUFFIXES else folder for folder in folders]
    path = PurePosixPath(*folders, base)
    if len(str(path).encode()) > _MAX_PATH_BYTES:
        path = PurePosixPath(_digest(str(path)), base)
    return path


def _safe_component(part: str) -> str:
    safe = "".join("_" if unicodedata.category(c) in ("Cc", "Cs") or c in _BIDI_CONTROLS else c for c in part)
    safe = _FORBIDDEN.sub("_", safe).rstrip(". ") or "_"
    if safe.split(".")[0].rstrip().lower() in _WINDOWS_DEVICES:
        safe = f"_{safe}"
    if len(safe.encode()) > _MAX_COMPONENT_BYTES:
        suffix = PurePosixPath(safe).suffix
        suffix = suffix if suffix.lower() in SUFFIXES else ""
        room = _MAX_COMPONENT_BYTES - len(suffix) - 9
        safe = f"{safe.encode()[:room].decode(errors='ignore')}~{_digest(safe)}{suffix}"
    return safe


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
