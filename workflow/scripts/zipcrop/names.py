"""File names: members' names made safe and unique, how crops are called, and archives' ids."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from zipcrop.image import SUFFIXES

# 255 bytes is the limit of every common file system; the rest is left for "~2" and "_12.webp".
_MAX_COMPONENT_BYTES = 230
_MAX_PATH_BYTES = 1024
_LONGEST_SAFE_PART = 100
_SEPARATORS = re.compile(r"[/\\]")
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, separators of lines and paragraphs
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)}
_SNAKEMAKES_OWN = ".snakemake_timestamp"  # it leaves one in every folder that is an output
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
    wished = [_safe_path(name) for name in members]
    # A folder never ends in an image's suffix (see _safe_folder), so only an original without one can meet a folder.
    originals = _unique(wished, _folder_keys(stem for stem, _ in wished))
    stems = _unique(((stem, "") for stem, _ in wished), set())
    return [OutputName(original, stem) for original, stem in zip(originals, stems, strict=True)]


def is_safe_character(character: str) -> bool:
    """Whether a name with that character is written and read as it is: no control character, no lone surrogate, no
    separator of lines, no mark that turns the direction of writing."""
    return unicodedata.category(character) not in _UNPRINTABLE and character not in _BIDI_CONTROLS


def safe_archive_id(path: str) -> str:
    """An id for an archive with a name that cannot be carried: `path`, which may hold anything, made safe."""
    # In one part: it lies in nobody's folder.
    safe = _safe_component(re.sub(r"[{}/\\]", "_", path))[:_LONGEST_SAFE_PART]
    # Another one for each name, and never 20 times the same at its end.
    return f"{safe}~{_digest(path.encode(errors='backslashreplace').decode())}"


def archive_ids(relative_paths_without_suffix: Sequence[str]) -> list[str]:
    """Ids for archives, one for each of their paths, with `/`, in their order: no two ids, and no id and no folder of
    another one's, differ in letter case or Unicode normalisation alone.

    The first of several paths with one key keeps it, unless it is a folder's; the others get `~2`, `~3`, … at their
    ends. All else stays as it is, to the byte.
    """
    folders = _folder_keys(relative_paths_without_suffix)
    return _unique(((path, "") for path in relative_paths_without_suffix), folders)


def _folder_keys(paths: Iterable[str]) -> set[str]:
    """The keys of all folders that `paths` lie in."""
    keys: set[str] = set()
    for parent in {path.rpartition("/")[0] for path in paths}:
        while parent:
            keys.add(_key(parent))
            parent = parent.rpartition("/")[0]
    return keys


def _unique(wished: Iterable[tuple[str, str]], reserved: Set[str]) -> list[str]:
    """Each wished-for stem + suffix, numbered where it is taken already."""
    wished = list(wished)
    # By key, the last number given to a name; 0 where the name still waits for the member that has it by nature, since
    # a number must not take it away.
    numbers = dict.fromkeys((_key(stem + suffix) for stem, suffix in wished), 0)
    numbers.update(dict.fromkeys(reserved, 1))
    result = []
    for stem, suffix in wished:
        name = stem + suffix
        wish = _key(name)
        number = numbers[wish] + 1
        if number > 1:
            while (key := _key(name := f"{stem}~{number}{suffix}")) in numbers:
                number += 1
            numbers[key] = 1
        numbers[wish] = number
        result.append(name)
    return result


def _key(path: str) -> str:
    """Equal for names that a file system may take for one."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _safe_path(name: str) -> tuple[str, str]:
    """`name` as a relative path that stays below its folder on every common system, split before its suffix;
    backslashes separate, too."""
    parts = [part for part in _SEPARATORS.split(name) if part not in ("", ".", "..")] or ["unnamed"]
    folder = _safe_folder("/".join(parts[:-1]))
    base = _safe_component(parts[-1])
    if len(folder.encode()) + len(base.encode()) >= _MAX_PATH_BYTES:
        folder = _digest(f"{folder}/{base}")
    suffix = _suffix(base)
    stem = base.removesuffix(suffix)
    return (f"{folder}/{stem}" if folder else stem), suffix


@functools.lru_cache(maxsize=1024)  # members come folder by folder
def _safe_folder(path: str) -> str:
    folders = [_safe_component(part) for part in path.split("/") if part]
    return "/".join(f"{folder}_" if _suffix(folder).lower() in SUFFIXES else folder for folder in folders)


def _safe_component(part: str) -> str:
    safe = part
    if not (part.isascii() and part.isprintable()):
        safe = "".join("_" if unicodedata.category(c) in _UNPRINTABLE or c in _BIDI_CONTROLS else c for c in part)
    safe = _FORBIDDEN.sub("_", safe).rstrip(". ") or "_"
    if safe.split(".")[0].rstrip().lower() in _WINDOWS_DEVICES or safe.lower() == _SNAKEMAKES_OWN:
        safe = f"_{safe}"
    if len(safe.encode()) > _MAX_COMPONENT_BYTES:
        suffix = _suffix(safe)
        suffix = suffix if suffix.lower() in SUFFIXES else ""
        room = _MAX_COMPONENT_BYTES - len(suffix) - 9
        safe = f"{safe.encode()[:room].decode(errors='ignore')}~{_digest(safe)}{suffix}"
    return safe


def _suffix(component: str) -> str:
    """From the last dot on; empty if it is the first or the last character."""
    dot = component.rfind(".")
    return component[dot:] if 0 < dot < len(component) - 1 else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
