"""File names: made safe for every common file system, and told apart as the strictest of them does."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container, Iterable, Set

# Every common file system takes 255 bytes; the rest is for "~2" and "_12.webp".
_MAX_COMPONENT_BYTES = 230
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, separators of lines and paragraphs
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)}
_SNAKEMAKES_OWN = ".snakemake_timestamp"  # it leaves one in every folder that is an output
# Bidirectional controls make a name read as another one on screen.
_BIDI_CONTROLS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_safe_character(character: str) -> bool:
    """Whether a name with that character is written and read unchanged: it is no control character, lone surrogate,
    separator of lines, or mark that turns the direction of writing."""
    return unicodedata.category(character) not in _UNPRINTABLE and character not in _BIDI_CONTROLS


def safe_component(part: str, kept: Container[str] = ()) -> str:
    """`part` of a path as a name that every common system takes, of at most 230 bytes.

    If it has to be cut, it keeps its suffix if that is among `kept`, which are in lower case and begin with a dot.
    """
    safe = part
    if not (part.isascii() and part.isprintable()):
        safe = "".join("_" if unicodedata.category(c) in _UNPRINTABLE or c in _BIDI_CONTROLS else c for c in part)
    safe = _FORBIDDEN.sub("_", safe).rstrip(". ") or "_"
    if safe.split(".")[0].rstrip().lower() in _WINDOWS_DEVICES or safe.lower() == _SNAKEMAKES_OWN:
        safe = f"_{safe}"
    if len(safe.encode()) > _MAX_COMPONENT_BYTES:
        suffix = suffix_of(safe)
        suffix = suffix if suffix.lower() in kept else ""
        room = _MAX_COMPONENT_BYTES - len(suffix) - 9
        safe = f"{safe.encode()[:room].decode(errors='ignore')}~{digest(safe)}{suffix}"
    return safe


def unique(wished: Iterable[tuple[str, str]], reserved: Set[str]) -> list[str]:
    """Each wished-for stem + suffix, with a number where an earlier one has taken it."""
    wished = list(wished)
    # By key, the last number given to a name; 0 while the name is kept for the first one that wishes for it, so that
    # a numbered name cannot take it.
    numbers = dict.fromkeys((key_of(stem + suffix) for stem, suffix in wished), 0)
    numbers.update(dict.fromkeys(reserved, 1))
    result = []
    for stem, suffix in wished:
        name = stem + suffix
        wish = key_of(name)
        number = numbers[wish] + 1
        if number > 1:
            while (key := key_of(name := f"{stem}~{number}{suffix}")) in numbers:
                number += 1
            numbers[key] = 1
        numbers[wish] = number
        result.append(name)
    return result


def folder_keys(paths: Iterable[str]) -> set[str]:
    """The keys of all folders above `paths`."""
    keys: set[str] = set()
    for parent in {path.rpartition("/")[0] for path in paths}:
        while parent:
            keys.add(key_of(parent))
            parent = parent.rpartition("/")[0]
    return keys


def key_of(path: str) -> str:
    """A key that is equal for names that a file system may take for one."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def suffix_of(component: str) -> str:
    """The part from the last dot on; empty if that dot is the first or the last character."""
    dot = component.rfind(".")
    return component[dot:] if 0 < dot < len(component) - 1 else ""


def digest(text: str) -> str:
    """Eight hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
