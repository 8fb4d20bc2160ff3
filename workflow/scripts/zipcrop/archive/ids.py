"""Archives' ids: what results, rules and people call them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zipcrop.filenames import digest, folder_keys, safe_component, unique

_LONGEST_SAFE_PART = 100


def safe_archive_id(path: str) -> str:
    """An id for an archive with a name that cannot be carried: `path`, which may hold anything, made safe."""
    # In one part: it lies in nobody's folder.
    safe = safe_component(re.sub(r"[{}/\\]", "_", path))[:_LONGEST_SAFE_PART]
    # Another one for each name, and never 20 times the same at its end.
    return f"{safe}~{digest(path.encode(errors='backslashreplace').decode())}"


def archive_ids(relative_paths_without_suffix: Sequence[str]) -> list[str]:
    """Ids for archives, one for each of their paths, with `/`, in their order: no two ids, and no id and no folder of
    another one's, differ in letter case or Unicode normalisation alone.

    The first of several paths with one key keeps it, unless it is a folder's; the others get `~2`, `~3`, … at their
    ends. All else stays as it is, to the byte.
    """
    folders = folder_keys(relative_paths_without_suffix)
    return unique(((path, "") for path in relative_paths_without_suffix), folders)
