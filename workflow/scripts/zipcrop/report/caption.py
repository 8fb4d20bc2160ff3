"""The run's numbers that captions quote, safe in reStructuredText."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zipcrop.process.progress import in_words
from zipcrop.report import REPORT_VERSION, survey_file
from zipcrop.report.label import counted

_NOUNS = {
    "archives": "archive",
    "archives_with_failures": "archive",
    "archives_without_people": "archive",
    "members": "member",
    "person_images": "photo",
    "failed": "failure",
    "crops": "crop",
    "nearly_kept": "photo",
    "crowded": "photo",
    "shared_photos": "photo",
}
_SPECIAL = re.compile(r"[^\w\s]|_")


def figures(path: Path) -> dict[str, Any]:
    """The numbers of the survey at `path`; in `some`, those of _NOUNS with their noun, such as `1 crop`; `time` in
    words, `model`, `settings` and the most frequent `reasons`. Empty if there is no survey of this release that can be
    read: the next run makes one."""
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
            "some": {key: counted(found["numbers"][key], noun) for key, noun in _NOUNS.items()},
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
