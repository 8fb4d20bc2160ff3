"""The layout of the output folder: what lies where in it."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> dict[str, bool]:
    """Everything below `folder` that is no folder itself, as paths with `/`, and whether it is a regular file. Links
    are not followed, and where there is no folder, nothing is below it. Raises OSError."""
    found: dict[str, bool] = {}
    todo = [] if folder.is_symlink() else [(str(folder), "")]
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
