"""The terminal: text from archives and decoders, made harmless before it is shown there or in a log."""

from __future__ import annotations

import sys
import unicodedata

_JOINERS = "\u200c\u200d"
"""Not printable by themselves, but Persian and emoji are made with them."""


def printable(text: str) -> str:
    r"""`text` on one line. Each character that moves the cursor, ends a line, turns the direction of writing or cannot
    be shown becomes its escape (`\x1b`, `\u202e`, `\U000e0001`), and so does half a surrogate pair."""
    return text if text.isprintable() else "".join(map(_printable, text))


def say(line: str) -> None:
    """Prints `line` on stdout, made `printable`, with escapes for characters that the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _printable(character: str) -> str:
    # Wide and unbreakable spaces pass for unprintable in Python, but are harmless.
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if code < 1 << 8:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
