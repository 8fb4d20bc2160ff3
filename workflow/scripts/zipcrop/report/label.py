"""Labels: names made short enough for a page."""

from __future__ import annotations

import unicodedata

from zipcrop.terminal import printable

_LONGEST = 34
"""Columns."""


def of_sheet(archives: list[str], rank: int) -> str:
    """The label of the contact sheets of the `rank`-worst of `archives`, from 1; sorted as text, they stay in order."""
    # Snakemake 9.27 puts labels into a script as they are, where "</script>" would end it.
    return f"{rank:04d} {shortened(archives[rank - 1]).replace('<', '‹')}"


def shortened(name: str, longest: int = _LONGEST) -> str:
    """`name`, without its middle if it takes more than `longest` columns; wide characters take two."""
    safe = printable(name)
    if _columns(safe) <= longest:
        return safe
    head, tail = "", ""
    for i in range(len(safe)):
        longer = (head + safe[i // 2], tail) if i % 2 == 0 else (head, safe[-1 - i // 2] + tail)
        if _columns(longer[0] + longer[1]) >= longest:
            break
        head, tail = longer
    return f"{head}…{tail}"


def counted(number: int, noun: str) -> str:
    """`number` with its `noun`, such as `1 crop` and `1,234 crops`. In a longer `noun` such as `photo without people`,
    the first word has the plural."""
    first, *others = noun.split(" ")
    return " ".join([f"{number:,}", first if number == 1 else f"{first}s", *others])


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
