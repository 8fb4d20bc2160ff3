"""The file that holds a survey. Apart from `survey`, so that reading one needs no pandas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zipcrop import files


def read(path: Path) -> dict[str, Any]:
    """The survey that `write` wrote to `path`. Raises OSError or ValueError if there is none."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(result, dict):
        raise ValueError(f"{path} holds no survey")
    return result


def write(survey: dict[str, Any], path: Path) -> None:
    """Writes `survey` as JSON, whole or not at all."""
    with files.whole(path) as part:
        part.write_text(json.dumps(survey, indent=1, allow_nan=False), encoding="utf-8")
