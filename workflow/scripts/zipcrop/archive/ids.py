"""Ids of archives: their names in results, in rules and for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zipcrop.filenames import digest, folder_keys, safe_component, unique

_LONGEST_SAFE_PART = 100


def safe_archive_id(path: str) -> str:
    """An id for an archive whose name Snakemake cannot carry: `path`, which may hold anything, made safe."""
    # One part only, so that it lies in no other archive's folder.
    safe = safe_component(re.sub(r"[{}/\\]", "_", path))[:_LONGEST_SAFE_PART]
    # The digest makes it unique, and ends it with something that does not repeat.
    return f"{safe}~{digest(path.encode(errors='backslashreplace').decode())}"


def archive_ids(relative_paths_without_suffix: Sequence[str]) -> list[str]:
    """Ids for archives, one for each of their paths, with `/`, in their order.

    No two ids differ in letter case or Unicode normalisation alone, and neither do an id and a folder of another one.
    Of several paths with the same key, the first stays as it is, unless a folder has that key; the others get `~2`,
    `~3`, … at their ends. All others stay as they are, to the byte.
    """
    folders = folder_keys(relative_paths_without_suffix)
    return unique(((path, "") for path in relative_paths_without_suffix), folders)
