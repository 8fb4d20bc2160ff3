"""What captions quote: the run's numbers, safe in reStructuredText."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zipcrop.progress import in_words
from zipcrop.report import REPORT_VERSION, survey_file

_SPECIAL = re.compile(r"[^\w\s]|_")


def figures(path: Path) -> dict[str, Any]:
    """The numbers of the survey at `path`, with `time` in words, `model`, `settings` and the most frequent `reasons`;
    empty if there is no survey yet, or none of this release that can be read: the next run makes one."""
    try:
        found = survey_file.read(path)
    except (OSError, ValueError):
        return {}
    if found.get("version") != REPORT_VERSION:
        return {}
    provenance = found["provenance"][:1]
    quoted: dict[str, Any] = _escaped(
        {
            **found["numbers"],
            "time": in_words(found["numbers"]["seconds"]),
            "model": provenance[0]["model"] if provenance else {},
            "settings": provenance[0]["settings"] if provenance else {},
            "reasons": found["reasons"][:3],
        }
    )
    return quoted


def _escaped(value: Any) -> Any:
    """`value` with all texts in it escaped."""
    if isinstance(value, str):
        printable = "".join(character if character.isprintable() else " " for character in value)
        return _SPECIAL.sub(lambda match: "\\" + match[0], printable)
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return value
