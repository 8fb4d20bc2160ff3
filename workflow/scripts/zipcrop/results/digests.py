"""The digests of an archive's results, in the format of GNU's `sha256sum`: a line for each file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from zipcrop import files

_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")


def line(sha256: str, file: str) -> str:
    """The line of `file`, a path below the output folder with `/`; `sha256` is hexadecimal."""
    if "\\" in file:  # then the line, too, begins with a backslash
        return "\\" + sha256 + "  " + file.replace("\\", "\\\\") + "\n"
    return f"{sha256}  {file}\n"


def read(path: Path) -> Iterator[tuple[str, str]]:
    """The files in the list at `path`, each with its SHA-256. Raises OSError, ValueError if it is no such list."""
    with files.open_regular(path, "r") as lines:
        for text in lines:
            found = _LINE.fullmatch(text.removesuffix("\n"))
            if found is None or not text.endswith("\n"):
                raise ValueError(f"{path} is damaged")
            escaped, sha256, file = found.groups()
            yield file.replace("\\\\", "\\") if escaped else file, sha256
