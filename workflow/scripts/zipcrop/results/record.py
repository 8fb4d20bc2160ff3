"""The record of an archive's job, checked for what the summary and the report take from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zipcrop.results import layout, manifest
from zipcrop.results.reading import Flaw, reading

_TYPES = {"fingerprint": str, "device": str, "engine": str, "model": dict, "settings": dict, "versions": dict}
_OF_MODEL = ("name", "sha256", "quantized")
_OF_SETTINGS = ("confidence", "crop.padding")


def read(output: Path, archive: str) -> dict[str, Any]:
    """The record of the job of `archive` below the folder `output`. Raises ResultsError if it is none, or not whole;
    MachineError."""
    with reading(layout.record(output, archive), archive, "record"):
        record = manifest.read_record(output, archive)
        if not all(isinstance(record.get(key), kind) for key, kind in _TYPES.items()):
            raise Flaw("is no record")
        model, settings = record["model"], record["settings"]
        if not all(isinstance(model.get(key), str) for key in _OF_MODEL):
            raise Flaw("does not name the model")
        numbers = [record.get("seconds"), *map(settings.get, _OF_SETTINGS)]
        if not all(isinstance(each, int | float) and float(each) >= 0 for each in numbers):
            raise Flaw("is no record")
        # Neither numbers that JSON does not have, nor halves of surrogate pairs.
        json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
        return record
